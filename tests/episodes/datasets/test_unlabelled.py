"""Datasets whose labels nobody asks for: a folder of pictures needs no classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from picture_examples import save

from episodes import ImageSource, load_dataset
from episodes.datasets.unlabelled import load_unlabelled


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Pictures that lie flat, and others below."""
    for name in ("b.png", "a.png", "train/owl/0.png", "test/owl/0.png", ".hidden/0.png"):
        save(tmp_path / "pictures" / name)
    return tmp_path / "pictures"


def test_pictures_of_a_folder_at_any_depth(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="into the sub-folder of its class"):
        load_dataset(f"folder:{mixed}")
    monkeypatch.chdir(mixed.parent)
    for spec in (f"folder:{mixed}", str(mixed), mixed, "pictures", "folder:pictures(size=8)"):
        found = load_unlabelled(spec)
        assert isinstance(found, ImageSource) and found.name == "pictures" and found.class_names == ["unlabelled"]
        places = [
            Path(str(item)).relative_to("pictures" if str(item)[:8] == "pictures" else mixed) for item in found.items
        ]
        assert [place.as_posix() for place in places] == ["a.png", "b.png", "test/owl/0.png", "train/owl/0.png"]
        assert found.labels.tolist() == [0] * 4
    assert found[[0]].shape == (1, 3, 8, 8)


def test_whatever_else_is_as_it_is_elsewhere(mixed: Path) -> None:
    assert torch.equal(load_unlabelled("digits").labels, load_dataset("digits").labels)
    source = load_dataset("digits")
    assert load_unlabelled(source) is source
    with pytest.raises(ValueError, match="no option 'sise'; did you mean 'size'"):
        load_unlabelled(f"folder:{mixed}(sise=3)")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_unlabelled(f"folder:{mixed / 'gone'}")
    (mixed / "empty").mkdir()
    with pytest.raises(ValueError, match="is empty"):
        load_unlabelled(mixed / "empty")

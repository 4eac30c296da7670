"""Omniglot: its parts and rotations, from stand-ins of its files and from real drawings."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import write_omniglot

from episodes import load_dataset, load_split


@pytest.fixture(scope="module")
def omniglot_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 1,623 characters, each with one drawing that holds its number."""
    root = tmp_path_factory.mktemp("omniglot")
    write_omniglot(root)
    return root


def test_omniglot_parts(omniglot_root: Path) -> None:
    split = load_split("omniglot")
    sizes = {"train": 1028, "val": 172, "test": 423}
    for part, size in sizes.items():
        source = load_dataset(f"omniglot:{part}(rotations=False)", root=omniglot_root)
        assert (source.class_names, source.name, source.kind) == (split[part], f"omniglot:{part}", "images")
        assert source.labels.tolist() == list(range(size))
        assert source[[0]].shape == (1, 1, 28, 28)
        assert source.features.dtype == torch.uint8
    both = load_dataset("omniglot:val+train", root=omniglot_root, rotations=False)
    assert len(both.class_names) == 1200


def test_omniglot_rotations_are_classes_of_their_own(omniglot_root: Path) -> None:
    upright = load_dataset("omniglot:test", root=omniglot_root, rotations=False)
    turned = load_dataset("omniglot:test", root=omniglot_root)
    assert len(turned.class_names) == len(set(turned.class_names)) == 4 * 423 == len(turned)
    assert torch.bincount(turned.labels).tolist() == [1] * 1692
    assert {name.rsplit("/", 1)[0] for name in turned.class_names} == set(load_split("omniglot")["test"])
    row_of = {turned.class_names[label]: row for row, label in enumerate(turned.labels.tolist())}
    for row in (0, 100, 422):
        name = upright.class_names[int(upright.labels[row])]
        for turns in range(4):
            seen = turned[row_of[f"{name}/rot{90 * turns:03d}"]]
            expected = torch.rot90(upright[row], turns, (1, 2))
            torch.testing.assert_close(seen, expected, rtol=0, atol=0)
            dark = (seen[0] < 0.999).float()
            # Counter-clockwise: the dark top left quarter goes to the bottom left, bottom right, top right.
            corner = [(0, 0), (1, 0), (1, 1), (0, 1)][turns]
            halves = dark.unfold(0, 14, 14).unfold(1, 14, 14).sum((2, 3))
            assert np.unravel_index(int(halves.argmax()), (2, 2)) == corner


def test_omniglot_may_lie_in_root_itself(omniglot_root: Path) -> None:
    source = load_dataset("omniglot:val", root=omniglot_root / "omniglot-py", rotations=False)
    assert len(source.class_names) == 172


def test_omniglot_incomplete(tmp_path: Path) -> None:
    for half in ("images_background", "images_evaluation"):
        (tmp_path / "omniglot-py" / half / "Greek" / "character01").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"lacks 172 of the 172 characters of this part, such as 'Armenian/"):
        load_dataset("omniglot:val", root=tmp_path)


def test_omniglot_reads_real_drawings_as_they_were_packed(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Early Aramaic is a validation alphabet of which the real drawings are at hand."""
    packed = np.load(shared_data / "omniglot" / "omniglot28.npz", allow_pickle=False)
    with zipfile.ZipFile(shared_data / "omniglot" / "python" / "images_background_small1.zip") as archive:
        wanted = [name for name in archive.namelist() if "/Early_Aramaic/" in name and name.endswith(".png")]
        archive.extractall(tmp_path, wanted)
    (tmp_path / "images_background_small1").rename(tmp_path / "images_background")
    (tmp_path / "images_evaluation").mkdir()
    names = sorted({"/".join(name.split("/")[1:3]) for name in wanted})
    monkeypatch.setattr("episodes.datasets.omniglot.load_split", lambda _: {"val": names})
    source = load_dataset("omniglot:val", root=tmp_path, rotations=False)
    assert len(source) == 22 * 20
    for place, name in enumerate(names):
        label = packed["class_name"].tolist().index(name)
        drawings = source.features[source.labels == place, 0].numpy()
        np.testing.assert_array_equal(drawings, packed["X"][packed["y"] == label])

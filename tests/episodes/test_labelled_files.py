"""Labels from folders and from tables."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from picture_examples import noise, save
from PIL import Image

from episodes import AudioSource, ImageSource, load_dataset
from episodes.labelled_files import pictures_below


def test_from_folder(photos: Path) -> None:
    source = ImageSource.from_folder(photos, size=8)
    assert source.class_names == ["crow", "owl", "sea/gull"]
    assert source.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert (source.name, source.kind, len(source)) == ("photos", "images", 12)
    assert [Path(item).name for item in source.items[:4]] == ["0.png", "1.png", "2.png", "3.png"]  # type: ignore[arg-type]


def test_hidden_and_other_files_are_ignored(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    (photos / "owl" / ".hidden.png").write_bytes(b"")
    (photos / ".thumbnails").mkdir()
    (photos / "owl" / "notes.txt").write_text("an owl")
    save(photos / "owl" / "UPPER.PNG")
    assert len(ImageSource.from_folder(photos)) == 13
    assert "ignored 1 files" in caplog.text
    assert "notes.txt" in caplog.text


def test_folder_errors(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*nowhere'"):
        ImageSource.from_folder(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="is empty"):
        ImageSource.from_folder(tmp_path / "bare")
    (photos / "lark").mkdir()
    with pytest.raises(ValueError, match=r"class folders without pictures in .*'lark'; fill or delete"):
        ImageSource.from_folder(photos)
    save(photos / "lark" / "young" / "0.png")
    save(photos / "lark" / "0.png")
    with pytest.raises(ValueError, match=r"folder 'lark' .* both pictures and class folders"):
        ImageSource.from_folder(photos)
    save(photos / "cover.png")
    with pytest.raises(ValueError, match=r"'cover\.png' and 0 more pictures lie in"):
        ImageSource.from_folder(photos)


def test_linked_class_folders_count(photos: Path, tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "0.png")
    os.symlink(tmp_path / "elsewhere", photos / "lark")
    assert ImageSource.from_folder(photos).class_names == ["crow", "lark", "owl", "sea/gull"]


def test_a_link_to_a_folder_above_does_not_loop(photos: Path) -> None:
    os.symlink(photos, photos / "sea" / "again")
    assert len(ImageSource.from_folder(photos)) == 12


class TestFolders:
    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        root = tmp_path / "photos"
        for name in ("owl", "crow", "crow/.ipynb_checkpoints", "__MACOSX/owl", ".ipynb_checkpoints"):
            (root / name).mkdir(parents=True, exist_ok=True)
            for file in ("a.png", "._a.png", ".b.png"):
                Image.fromarray(noise()).save(root / name / file)
        (root / "owl" / "Thumbs.db").write_bytes(b"")
        return root

    def test_hidden_files_are_no_data(self, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
        source = ImageSource.from_folder(photos)
        assert (source.class_names, len(source)) == (["crow", "owl"], 2)
        assert not caplog.text
        assert [path.relative_to(photos).as_posix() for path in pictures_below(photos)] == ["crow/a.png", "owl/a.png"]

    def test_a_folder_is_a_dataset(self, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(photos.parent)
        for spec in (photos, str(photos), "photos", "photos/", "photos(size=8)", Path("photos")):
            source = load_dataset(spec)  # type: ignore[arg-type]
            assert (type(source), source.class_names) == (ImageSource, ["crow", "owl"])
        assert load_dataset("photos(size=8)")[0].shape == (3, 8, 8)
        assert load_dataset(photos, size=8)[0].shape == (3, 8, 8)

    def test_other_paths(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "bank.npz", X=np.eye(2), y=[0, 1])
        assert len(load_dataset(tmp_path / "bank.npz")) == 2
        (tmp_path / "a.png").write_bytes(b"")
        (tmp_path / "index.xlsx").write_bytes(b"")
        with pytest.raises(ValueError, match=r"'index\.xlsx' is a spreadsheet; save its sheet as CSV"):
            load_dataset(tmp_path / "index.xlsx")
        with pytest.raises(ValueError, match=r"'.*a\.png' is no dataset; give a folder"):
            load_dataset(str(tmp_path / "a.png"))
        with pytest.raises(FileNotFoundError, match="there is no file or folder"):
            load_dataset(tmp_path / "nowhere")
        for wrong in (None, ["a"], np.eye(2), 3):
            with pytest.raises(ValueError, match="is no dataset"):
                load_dataset(wrong)  # type: ignore[arg-type]
        pandas = pytest.importorskip("pandas")
        with pytest.raises(ValueError, match=r"a table \(columns 'path', 'label'\) .*ImageSource\(table\['path'\]"):
            load_dataset(pandas.DataFrame({"path": ["a.png"], "label": ["owl"]}))

    def test_a_folder_of_recordings_is_known_by_what_is_in_it(self, tmp_path: Path) -> None:
        pytest.importorskip("soundfile")
        for name in ("hoot", "caw"):
            (tmp_path / "calls" / name).mkdir(parents=True)
            (tmp_path / "calls" / name / "0.wav").write_bytes(b"")
        assert isinstance(load_dataset(tmp_path / "calls"), AudioSource)
        assert isinstance(load_dataset(str(tmp_path / "calls")), AudioSource)

    def test_parts_of_a_dataset_are_no_classes(self, photos: Path) -> None:
        for part, name in (("train", "owl"), ("train", "crow"), ("test", "owl"), ("test", "crow")):
            save(photos.parent / "split" / part / name / "0.png")
        with pytest.raises(ValueError, match=r"the parts 'test', 'train' of a dataset.*'crow'.*split/train'"):
            load_dataset(photos.parent / "split")
        assert load_dataset(photos.parent / "split" / "train").class_names == ["crow", "owl"]
        for place in ("test/robin", "train/owl"):  # no class in both: nested classes, as alphabets hold characters
            save(photos.parent / "other" / place / "0.png")
        assert load_dataset(photos.parent / "other").class_names == ["test/robin", "train/owl"]

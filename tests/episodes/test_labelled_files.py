"""Labels from folders and from tables."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from picture_examples import noise, save
from PIL import Image

from episodes import ImageSource, load_dataset
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


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for number in range(3):
        save(tmp_path / f"{number}.png")
    return tmp_path / "index.csv"


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        (["0.png,owl", "1.png,crow", "2.png,owl"], {}),
        (["\ufeffFile,Label", "0.png,owl", "1.png,crow", "", "2.png,owl"], {}),
        (["label,width,path", "owl,1,0.png", "crow,1,1.png", "owl,1,2.png"], {}),
        (["img,bird", "0.png,owl", "1.png,crow", "2.png,owl"], {}),
        (
            ["where,bird", "0.png,owl", "1.png,crow", "2.png,owl"],
            {"path_column": "where", "label_column": "bird"},
        ),
        (["1,owl,0.png", "1,crow,1.png", "1,owl,2.png"], {"path_column": 2, "label_column": 1}),
        (['"0.png","owl"', " 1.png , crow ", "2.png,owl,extra"], {}),
    ],
)
def test_from_csv(table: Path, lines: list[str], options: dict[str, object]) -> None:
    source = ImageSource.from_csv(write(table, *lines), size=8, **options)  # type: ignore[arg-type]
    assert [source.class_names[label] for label in source.labels] == ["owl", "crow", "owl"]
    assert (source.name, source[[0, 1, 2]].shape) == ("index", (3, 3, 8, 8))


def test_csv_root_tabs_and_numbers(table: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    path = write(tmp_path / "lists" / "index.tsv", "0.png\t10", "1.png\t9", "2.png\t10")
    source = ImageSource.from_csv(path, root=tmp_path)
    assert source.class_names == ["9", "10"]
    assert source.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("lines", "options", "error", "message"),
    [
        (
            ["0.png,owl", "gone.png,crow"],
            {},
            FileNotFoundError,
            r"line 2 .*'gone\.png'.*1 of 2 are missing.*root=",
        ),
        (
            ["where,bird", "0.png,owl"],
            {},
            FileNotFoundError,
            r"line 1 .*If that line is a header.*path_column=",
        ),
        (["0.png,owl", "1.png"], {}, ValueError, r"line 2 .*no label in column 1"),
        (["0.png,owl", ",owl"], {}, ValueError, "line 2 .*no path in column 0"),
        (
            ["a,b", "0.png,owl"],
            {"path_column": "c"},
            ValueError,
            "path_column='c', but the columns .* are 'a', 'b'",
        ),
        (["0.png,owl"], {"label_column": -1}, ValueError, "label_column=-1; positions count from 0"),
        (["path,label"], {}, ValueError, "header but no rows"),
        ([""], {}, ValueError, "is empty"),
        (['0.png,"owl'], {}, ValueError, "not a well-formed table"),
    ],
)
def test_csv_errors(
    table: Path, lines: list[str], options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ImageSource.from_csv(write(table, *lines), **options)  # type: ignore[arg-type]


def test_csv_missing_or_not_utf8(table: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no table"):
        ImageSource.from_csv(table)
    table.write_bytes("0.png,m\xf6we".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        ImageSource.from_csv(table)


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
        (tmp_path / "index.csv").write_text("a,b\n")
        (tmp_path / "a.png").write_bytes(b"")
        with pytest.raises(ValueError, match=r"write 'csv:.*' or 'text-csv:"):
            load_dataset(tmp_path / "index.csv")
        with pytest.raises(ValueError, match=r"'.*a\.png' is no dataset; give a folder"):
            load_dataset(str(tmp_path / "a.png"))
        with pytest.raises(FileNotFoundError, match="there is no file or folder"):
            load_dataset(tmp_path / "nowhere")
        for wrong in (None, ["a"], np.eye(2), 3):
            with pytest.raises(ValueError, match="is no dataset"):
                load_dataset(wrong)  # type: ignore[arg-type]

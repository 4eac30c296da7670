"""Labels from tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from picture_examples import save

from episodes import AudioSource, ImageSource, TextSource, load_dataset
from episodes.labelled_tables import read_table, table_kind


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


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (["path;label", "a.jpg;owl"], "images"),
        (["\ufeffFile,Label", "a.wav,owl"], "sounds"),
        (["0.png,owl", "1.png,crow"], "images"),
        (["Nummer;Datei;Klasse", "1;a.png;owl"], "images"),
        (["a.flac\towl"], "sounds"),
        (["text,label", "see a.png,owl"], "texts"),
        (["see a.png,owl", "look at b.png,crow"], "texts"),
        (["where is my card,card"], "texts"),
    ],
)
def test_what_a_table_lists(tmp_path: Path, lines: list[str], kind: str) -> None:
    assert table_kind(write(tmp_path / "a.csv", *lines)) == kind


def test_a_table_is_a_dataset(table: Path, tmp_path: Path) -> None:
    source = load_dataset(write(table, "path;label", "0.png;Größe 1", "1.png;Größe 2", "2.png;Größe 1"))
    assert (type(source), source.class_names) == (ImageSource, ["Größe 1", "Größe 2"])
    texts = write(tmp_path / "texts.tsv", "text\tlabel", "one\ta", "two\tb")
    assert (type(load_dataset(str(texts))), load_dataset(texts).class_names) == (TextSource, ["a", "b"])
    (tmp_path / "latin.csv").write_bytes("Größe,m".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        load_dataset(tmp_path / "latin.csv")


def test_a_table_of_recordings_is_a_dataset(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    for name in ("0.wav", "1.wav"):
        (tmp_path / name).write_bytes(b"")
    assert type(load_dataset(write(tmp_path / "calls.csv", "0.wav,a", "1.wav,b"))) is AudioSource


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        (["id,comment,mood", "1,fine,good", "2,bad,poor"], {}),
        (["id,text,mood", "1,fine,good", "2,bad,poor"], {}),
        (["id,comment,label", "1,fine,good", "2,bad,poor"], {}),
        (["id,comment,mood", "1,fine,good", "2,bad,poor"], {"text_column": "comment"}),
        (["id,comment,mood", "1,fine,good", "2,bad,poor"], {"label_column": 2}),
    ],
)
def test_of_many_columns_none_is_guessed(tmp_path: Path, lines: list[str], options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"has the columns 'id', .*text_column=, label_column=, or --text-column"):
        TextSource.from_csv(write(tmp_path / "a.csv", *lines), **options)  # type: ignore[arg-type]


def test_of_two_columns_the_other_one_is_meant(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "mood,comment", "good,fine", "poor,bad")
    for options in ({"text_column": "comment"}, {"label_column": "mood"}):
        assert TextSource.from_csv(file, **options).texts == ["fine", "bad"]  # type: ignore[arg-type]


def test_a_first_line_that_may_name_columns_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = ["fine,good", "well,good", "bad,poor", "ill,poor"]
    read_table(write(tmp_path / "a.csv", *rows), None, None, "text", ("text",))
    assert not caplog.text
    read_table(write(tmp_path / "b.csv", "review,mood", *rows), None, None, "text", ("text",))
    assert "line 1 of" in caplog.text and "'review', 'mood'" in caplog.text

"""Words at the right moment: what people type, and what they have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.labelled_files import IMAGES, files_by_folder
from episodes.labelled_tables import read_table
from fewshot import embed
from fewshot.cli import main


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of four photos of several sizes."""
    random = np.random.default_rng(0)
    for name in ("crow", "owl"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            picture = random.integers(0, 256, (20 + number, 24, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "photos" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "photos"


def test_photos_of_several_sizes_without_an_encoder(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["evaluate", "--data", "photos", "--way", "2", "--shot", "1", "--query", "3", "--episodes", "5"]
    assert main([*line, "--learner", "prototypes"]) == 0
    said = capsys.readouterr()
    assert "several sizes" in said.err and "--encoder timm:mobilenetv2_100" in said.err and "2-way 1-shot" in said.out
    assert main(["embed", "--data", "folder:photos"]) == 0
    assert "several sizes" in capsys.readouterr().err


def test_too_few_photos_is_said_before_embedding(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--data", "folder:photos", "--way", "2", "--shot", "1", "--encoder", "timm:nothing"]) == 2
    said = capsys.readouterr().err
    assert "needs 2 classes of 16 rows, and there are 0. Too small: crow (4), owl (4); --query 3 would do" in said
    assert main(["evaluate", "--data", "folder:photos", "--encoder", "timm:nothing"]) == 2
    assert "lower --shot, --query or --way" in capsys.readouterr().err


def test_help_and_misspelt_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for words, shown in ((["help"], "VERB"), (["help", "fit"], "--strategy")):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0 and shown in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["evalute", "--data", "digits"])
    assert stop.value.code == 2 and "did you mean 'evaluate'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoder", "meant"),
    [("resnet18", "timm:resnet18"), ("resnet50", "'timm:resnet50' or 'torchvision:resnet50'"), ("dinov2", "timm:vit_small_patch14_dinov2"), ("mobilenet", "timm:mobilenetv2_100"),
     ("CLIP", "open_clip:ViT-B-32")],
)  # fmt: skip
def test_a_model_without_its_family(encoder: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "--data", "digits", "--encoder", encoder]) == 2
    assert meant in capsys.readouterr().err


def test_a_device_of_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--device", "gpu"])
    assert "write cuda (NVIDIA)" in capsys.readouterr().err


def test_semicolons(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path;label\nb, c.jpg;owl\n")
    assert [row[1:] for row in read_table(tmp_path / "a.csv", None, None, "path", ("path",))] == [("b, c.jpg", "owl")]


def test_a_table_of_texts_taken_for_one_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("text,label\nwhere is my card,card\nhow do I top up,top up\n")
    assert main(["evaluate", "--data", "csv:a.csv"]) == 1
    assert "If these are texts, write 'text-csv:a.csv'." in capsys.readouterr().err
    Path("b.csv").write_text("path,label\nb.jpg,card\nc.jpg,top up\n")
    assert main(["evaluate", "--data", "csv:b.csv"]) == 1
    assert "text-csv" not in capsys.readouterr().err


def test_photos_of_telephones(tmp_path: Path) -> None:
    (tmp_path / "owl").mkdir()
    (tmp_path / "owl" / "IMG_1.HEIC").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"'IMG_1\.HEIC' is a HEIC photo: export such photos as JPEG"):
        files_by_folder(tmp_path, IMAGES)


def test_an_empty_results_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs.jsonl").touch()
    assert main(["compare", str(tmp_path / "runs.jsonl")]) == 2
    assert "no results" in capsys.readouterr().err


def test_photos_of_several_sizes_with_an_encoder_that_keeps_them(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in (["embed", "--data", "folder:photos"], ["fit", "photos", "--out", "model"]):
        assert main([*line, "--encoder", "pixels"]) == 2  # at once or, the second time, behind rows that were stored
        said = capsys.readouterr().err
        assert "[3, 20, 24]" in said or "images of several sizes need an encoder that brings them to one" in said


def test_one_learner_with_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "learners", "knn"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("nearest(k=1") and "(also: knn, nn)" in said and "Args:" in said and "Reference:" in said
    assert main(["list", "encoders", "pixels"]) == 0
    assert capsys.readouterr().out.startswith("pixels(size=None, grey=False)\n\nFlattens images")
    assert main(["list", "learners", "ridg"]) == 2
    assert "did you mean 'ridge'" in capsys.readouterr().err


def test_the_same_photo_in_two_classes(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    (photos / "crow" / "copy.png").write_bytes((photos / "owl" / "2.png").read_bytes())
    (photos / "owl" / "again.png").write_bytes((photos / "owl" / "1.png").read_bytes())  # in one class twice: no harm
    embed("folder:photos", "pixels(size=4)", cache=False, progress=False)
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("the same content is labelled 'crow' (picture") and "and 'owl' (picture" in said
    assert "copy.png' (row 4 of 'photos')" in said and "2.png' (row 7 of 'photos')" in said


def test_an_inspection_is_a_section_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    data = "scenes:size(count=60, pixels=28)"
    common = ["--data", data, "--encoder", "pixels", "--learner", "prototypes", "--way", "2", "--shot", "1"]
    assert main(["evaluate", *common, "--query", "5", "--episodes", "20", "--out", "r.jsonl", "--quiet"]) == 0
    command = ["report", "r.jsonl", "--html", "page.html"]
    encoder = "net:conv4(item_shape=(3, 28, 28))"
    assert main([*command, "--pictures", data, "--inspect", encoder]) == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert "<h2>Inside net:conv4" in page
    assert '<iframe sandbox title="Inside net:conv4' in page
    assert "&lt;svg" in page and "http" not in page.split("<iframe", 1)[1].split("</iframe>", 1)[0].replace(
        "http://www.w3.org", ""
    )
    assert len(page) < 2_000_000
    capsys.readouterr()
    assert main([*command, "--inspect", encoder]) == 2
    assert "give --pictures DATA" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("evaluate --learners knn", "unrecognized option '--learners'; did you mean --learner?"),
        ("evaluate digits", "did you mean --data digits?"),
        ("evaluate knn", "did you mean --learner knn?"),
        (
            "evaluate --encoder pixels timm:resnet18",
            "--encoder takes one value, and has 'pixels': run the command once",
        ),
        (
            "evaluate --encoder=pixels timm:resnet18",
            "--encoder takes one value, and has 'pixels': run the command once",
        ),
        ("fit photos more --out m", "unrecognized word 'more'. `fewshot help fit`"),
        ("evaluate --quiet knn", "did you mean --learner knn?"),
        ("evaluate --metric f1", "did you mean macro-f1?"),
        ("evaluate --shot one", "invalid int value: 'one'. `fewshot help evaluate` shows all options."),
        ("list learner", "did you mean learners?"),
        ("fit photos", "required: --out. `fewshot help fit` shows all options."),
    ],
)
def test_wrong_usage_is_one_line(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    said = capsys.readouterr().err
    assert stop.value.code == 2 and words in said and said.count("\n") == 1


def test_help_behind_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "help"])
    assert stop.value.code == 0 and "--learner SPEC" in capsys.readouterr().out
    assert main(["list", "learners", "ridge", "knn"]) == 0
    assert "ridge(alpha=" in (said := capsys.readouterr().out) and "nearest(k=1" in said


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("evaluate --data photo", "no dataset, file or folder 'photo'. Did you mean 'photos'?"),
        ("evaluate --data folder:photo", "Did you mean 'photos'?"),
        ("fit phots --out m", "Did you mean 'photos'?"),
        ("fit photos/owl --out m", "Or did you mean the folder above, 'photos', whose 2 folders hold pictures?"),
        ("fit photos --out photos/m", "lies in 'photos', whose folders are classes"),
        ("fit photos --out file.csv", "is a file; give a folder"),
        ("train --data digits --out file.csv", "is a file; give a folder"),
        ("fit book.xlsx --out m", "is a spreadsheet; save its sheet as CSV"),
        ("fit file.csv --out m --encoder pixels(size=4)", "names 'art', which is no file"),
        ("fit --classes owl,crow --out m", "at least two, separated by blanks"),
        ("predict new m photos", "no saved classifier"),
        ("predict m new/*.jpg", "no file that matches 'new/*.jpg'"),
        ("report none.jsonl", "`fewshot evaluate --out none.jsonl` writes one"),
        ("report photos", "is a folder, and must be a file"),
        ("evaluate --shot 0", "--shot 0 leaves 'l2 | logistic' nothing to learn from"),
        ("evaluate --way 1", "nothing to tell apart"),
        ("evaluate --learner maml", "'maml' learns from images, and the rows of 'digits' are features"),
        ("evaluate --data photos", "--shot 1 --query 3 would do"),
        ("evaluate --metric auroc --episodes 5 --quiet", "--sampler open-set"),
        ("train --data digits --out t", '--learner "mlp(item_shape=(64,)) | prototypes"'),
        ("train --data photos --way 2 --out t", "Too small: crow (4), owl (4); --query 3 would do"),
        ("embed --data digits --batch-size 0", "batch_size=0"),
        ("classify photos --classes owl,crow --encoder fewshot:tiny-clip", "there is one class, 'owl,crow'"),
        ("classify *.jpg --classes a b", "no file that matches"),
        ("classify photos --classes-from c.txt", "no file of classes 'c.txt'"),
        ("embed --data digits --encoder timm:", "names no model; write"),
        ("embed --data digits --encoder bert", "'transformers:FOLDER'"),
    ],
)
def test_what_newcomers_type(line: str, words: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file.csv").write_text("art,what\nphotos/owl/1.png,owl\n")
    Path("book.xlsx").write_bytes(b"PK")
    if line.startswith("predict"):
        assert main(["fit", "photos", "--encoder", "pixels(size=4)", "--out", "m", "--quiet"]) == 0
        capsys.readouterr()
    if line.startswith("predict new"):
        line, words = "predict photos m", "the classifier goes first, fewshot predict m photos."
    if line == "evaluate --data photos":
        line += " --way 2"
    assert main(line.split()) in (1, 2)
    said = capsys.readouterr().err
    assert words in said and said.startswith("fewshot: error: ") and said.count("\n") == 1


def test_a_folder_that_is_not_there(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["evaluate", "--learner", "prototypes", "--shot", "1", "--episodes", "5", "--quiet", "--out", "r.jsonl"]
    assert main(line) == 0
    for flag in ("--html", "--csv", "--latex"):
        assert main(["report", "r.jsonl", flag, "no/where/page"]) == 1
        assert capsys.readouterr().err == "fewshot: error: there is no folder 'no/where'; make it first.\n"
        assert main(["report", "r.jsonl", flag, "photos"]) == 1
        assert "'photos' is a folder; give the name of a file." in capsys.readouterr().err


def test_what_comes_after_fit(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "photos", "--encoder", "pixels(size=4)", "--out", "m"]) == 0
    assert "now: fewshot predict m NEW/ --csv answers.csv" in capsys.readouterr().err
    Path("a.csv").write_text("text,label\nmy card is lost,card\nmy card was stolen,card\nhi,hello\ngood day,hello\n")
    Path("corpus.txt").write_text("my card is lost\nmy card was stolen\nhi\ngood day\n")
    assert main(["fit", "a.csv", "--encoder", "tfidf:corpus.txt", "--out", "t"]) == 0
    assert "now: fewshot predict t --texts NEW.txt --csv answers.csv" in capsys.readouterr().err


def test_tabs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path\tlabel\nb.jpg\towl\n")
    assert [row[1:] for row in read_table(tmp_path / "a.csv", None, None, "path", ("path",))] == [("b.jpg", "owl")]


def test_lines_fit_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Lists are folded in a terminal alone; comparisons are aligned where they fit, and else in two lines."""
    from fewshot.cli import compare, listing

    sentences = ["a - b = +0.00 ± 3.28, p = 1.000", "long(alpha=0.1) - b = -1.00 ± 2.00, p = 0.500"]
    assert [line.index(" = ") for line in compare._aligned(sentences, 80)] == [21, 21]
    assert compare._aligned(sentences, 40)[1].splitlines() == [
        "  long(alpha=0.1) - b",
        "      = -1.00 ± 2.00, p = 0.500",
    ]
    assert main(["list", "transforms"]) == 0
    whole = capsys.readouterr().out
    monkeypatch.setattr(listing.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(listing, "terminal_width", lambda: 80)
    assert main(["list", "transforms"]) == 0
    folded = capsys.readouterr().out
    assert max(map(len, folded.splitlines())) <= 80 < max(map(len, whole.splitlines()))
    assert folded.split() == whole.split()

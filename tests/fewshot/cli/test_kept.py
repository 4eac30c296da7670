"""An interrupted command says what it left on the disk, no more and no less, in one line."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewshot.cli import main
from fewshot.meta import loop


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with six pictures of two classes, and an empty cache."""
    random = np.random.default_rng(0)
    for name in ("crow", "owl"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            picture = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "photos" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def interrupted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a command says that is interrupted where it calls a function for the n-th time."""

    def run(where: str, call: int, *line: str) -> str:
        module, _, name = where.rpartition(".")
        held = importlib.import_module(module)
        function, calls = getattr(held, name), 0

        def stop(*given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                raise KeyboardInterrupt
            return function(*given, **named)

        monkeypatch.setattr(held, name, stop)
        assert main([*line, "--quiet"]) == 130
        monkeypatch.setattr(held, name, function)
        _, _, said = capsys.readouterr().err.rpartition("fewshot: interrupted; ")
        assert said.count("\n") == 1
        return said.strip()

    return run


def test_evaluate(interrupted: Callable[..., str]) -> None:
    line = ["evaluate", "--learner", "prototypes", "nearest", "--shot", "1", "--episodes", "1500"]
    kept = [*line, "--out", "runs.jsonl"]
    assert interrupted("episodes.evaluation_loop.record", 1, *line) == (
        "nothing was kept; with --out FILE results would be kept, too."
    )
    assert interrupted("episodes.evaluation_loop.record", 1, *kept) == "nothing was kept."
    said = interrupted("episodes.evaluation_loop.record", 3, *kept)  # after one block of both
    assert said == "2,048 episodes of the first are in runs.jsonl; the same command resumes there."
    assert main([*kept, "--quiet"]) == 0
    said = interrupted("episodes.evaluation_loop.record", 1, *kept, "--way", "3")
    assert said == "2 results are in runs.jsonl; the same command resumes there."


def test_embeddings(interrupted: Callable[..., str]) -> None:
    line = ["fit", "photos", "--encoder", "pixels", "--out", "model"]
    assert interrupted("fewshot.cli.examples.read_examples", 1, *line) == "nothing was kept."
    said = interrupted("fewshot.cli.fit._say", 1, *line)
    assert said == "6 embeddings are in the cache; all else starts anew."
    assert interrupted("fewshot.cli.fit._say", 1, *line) == "nothing was kept.", "there is nothing new"
    line = ["embed", "--data", "folder:photos", "--encoder", "pixels(size=4)"]
    said = interrupted("fewshot.embedding.embed_dataset._complete", 1, *line)
    assert said == "nothing was kept."


def test_predict(interrupted: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["fit", "photos", "--encoder", "pixels", "--out", "model", "--quiet"]) == 0
    monkeypatch.setattr("fewshot.cli.predict._STEP", 2)
    line = ["predict", "model", "photos", "--csv", "answers.csv"]
    assert interrupted("fewshot.cli.predict._answers", 1, *line) == "nothing was kept."
    said = interrupted("fewshot.cli.predict._answers", 3, *line)
    assert said == "4 answers are in answers.csv; the same command resumes there."
    assert main([*line, "--quiet"]) == 0
    assert len(Path("answers.csv").read_text().splitlines()) == 7


def test_training(interrupted: Callable[..., str]) -> None:
    learner = "mlp(item_shape=(64,)) | prototypes"
    line = ["train", "--data", "digits", "--learner", learner, "--steps", "6", "--every", "2", "--query", "3",
            "--out", "net"]  # fmt: skip
    assert interrupted("fewshot.meta.loop.seed_layers", 2, *line) == "nothing was kept."
    said = interrupted("fewshot.meta.loop.seed_layers", 6, *line)
    assert said == "step 4 of 6 is kept in net; the same command resumes there."
    assert main([*line, "--quiet"]) == 0


def test_finetune(interrupted: Callable[..., str]) -> None:
    line = ["finetune", "photos", "--encoder", "net:conv4(item_shape=(3, 8, 8))", "--strategy", "linear-probe | full",
            "--epochs", "4", "--out", "tuned"]  # fmt: skip
    said = interrupted("fewshot.meta.loop.seed_layers", 7, *line)
    assert "step 2 of 4 is kept in tuned" in said


@pytest.mark.parametrize("call", [4, 9, 30])  # in the encoder of all photos, and in those of folds
def test_fit_with_a_strategy_resumes_to_the_same_model(
    call: int, interrupted: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["fit", "photos", "--encoder", "net:conv4(item_shape=(3, 8, 8))", "--strategy", "linear-probe | full",
            "--epochs", "4"]  # fmt: skip
    assert main([*line, "--out", "whole", "--quiet"]) == 0
    said = interrupted("fewshot.meta.loop.seed_layers", call, *line, "--out", "model")
    assert "of 4 is kept in model" in said and "the same command resumes there" in said
    steps = 0
    seed_layers = loop.seed_layers

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        return seed_layers(*given, **named)

    monkeypatch.setattr(loop, "seed_layers", counted)
    assert main([*line, "--out", "model", "--quiet"]) == 0
    assert steps < 32  # updates of an uninterrupted one: 4 encoders, 2 phases, 4 epochs
    for name in ("model.safetensors", "tuned/delta.safetensors", "config.json"):
        assert Path("model", name).read_bytes() == Path("whole", name).read_bytes(), name
    assert not Path("model/.training").exists()


def test_fit_with_a_strategy_begins_anew_with_other_photos(interrupted: Callable[..., str], place: Path) -> None:
    line = ["fit", "photos", "--encoder", "net:conv4(item_shape=(3, 8, 8))", "--strategy", "full", "--epochs", "4"]
    interrupted("fewshot.meta.loop.seed_layers", 3, *line, "--out", "model")
    (place / "photos/owl/0.png").write_bytes((place / "photos/owl/1.png").read_bytes())
    for out in ("model", "whole"):
        assert main([*line, "--out", out, "--quiet"]) == 0
    for name in ("model.safetensors", "tuned/delta.safetensors"):
        assert Path("model", name).read_bytes() == Path("whole", name).read_bytes(), name


def test_benchmark(interrupted: Callable[..., str], place: Path) -> None:
    (place / "mine.toml").write_text(
        'title = "t"\nlearners = ["prototypes", "nearest"]\nencoders = [""]\nshots = [1, 5]\nepisodes = 20\n'
        '[[datasets]]\ndata = "digits"\n'
    )
    line = ["benchmark", "mine.toml", "--out", "made"]
    assert interrupted("fewshot.suites.running.GroupRows", 1, *line) == "nothing was kept."
    said = interrupted("fewshot.suites.running._write", 1, *line)
    assert said == "4 results are in made/results.jsonl; the same command resumes there."

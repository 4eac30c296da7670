"""`fewshot finetune`, and what it makes as an encoder of everything else."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewshot import FewShotClassifier, fine_tune, load_encoder
from fewshot.cli import main

ENCODER = "fewshot:conv4-omniglot"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(0)
    for name in "ab":
        drawn = random.integers(0, 256, (28, 28))
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            noisy = np.clip(drawn + random.normal(0, 40, (28, 28)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(tmp_path / "photos" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def finetune(out: str, *more: str, encoder: str = ENCODER) -> int:
    return main(
        ["finetune", "photos", "--encoder", encoder, "--strategy", "last(1)", "--epochs", "2", "--out", out, *more]
    )


def test_tuned_is_an_encoder_everywhere_and_moves(
    photos: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert finetune("tuned") == 0
    assert "layers.12" in caplog.text and "epochs" in caplog.text  # what trains is shown
    assert "--encoder tuned" in capsys.readouterr().err
    first = load_encoder("tuned").fingerprint
    Path("tuned").rename("elsewhere")
    assert load_encoder(Path("elsewhere")).fingerprint == first == load_encoder("tuned:elsewhere/").fingerprint
    assert first != load_encoder(ENCODER).fingerprint
    assert main(["embed", "--data", "folder:photos", "--encoder", "elsewhere", "--quiet"]) == 0
    assert main(["fit", "photos", "--encoder", "elsewhere", "--out", "model"]) == 0
    assert "fine-tuned on 8 of these 8 examples, so the estimate is too high" in capsys.readouterr().err
    files = sorted(Path("photos/a").iterdir())
    fitted = FewShotClassifier.load("model", encoder="elsewhere").predict_proba(files)
    Path("elsewhere").rename("gone")
    np.testing.assert_array_equal(FewShotClassifier.load("model").predict_proba(files), fitted)
    note = Path("model/encoder/encoder.json")
    note.write_text(json.dumps({**json.loads(note.read_text()), "encoder": "timm:resnet18@/etc/passwd"}))
    with pytest.raises(ValueError, match="damaged or was replaced"):
        FewShotClassifier.load("model")


def test_a_second_run_resumes_to_the_same_weights(photos: Path) -> None:
    assert finetune("tuned", "--quiet") == 0
    before = Path("tuned/delta.safetensors").read_bytes()
    assert finetune("tuned", "--quiet") == 0
    assert Path("tuned/delta.safetensors").read_bytes() == before


def test_tuned_twice_keeps_both_steps(photos: Path) -> None:
    assert finetune("tuned", "--quiet") == 0
    assert finetune("again", "--quiet", encoder="tuned") == 0
    Path("tuned").rename("gone")
    assert load_encoder("again").fingerprint != load_encoder("gone").fingerprint


def test_fit_with_a_strategy(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["fit", "photos", "--encoder", ENCODER, "--strategy", "last(1, epochs=1)", "--out", "model"]
    assert main(line) == 0
    assert "of 8 right" in capsys.readouterr().out
    assert main(["predict", "model", "photos/a", "--csv", "answers.csv"]) == 0
    assert Path("answers.csv").read_text().count("\n") == 5


def test_options_reach_the_training(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = [
        "--augment",
        "flip | crop(0.6)",
        "--views",
        "2",
        "--swa",
        "0.5",
        "--layer-decay",
        "0.9",
        "--batch-size",
        "4",
    ]
    assert finetune("tuned", *given, "--l2-sp", "0.1", "0.02", "--head-lr", "0.01", "--wise", "0.5") == 0
    assert "2 views of each image" in caplog.text and "computed once" in caplog.text
    assert "mean of the last 1 epochs" in caplog.text and "2 epochs, 4 steps" in caplog.text
    held = ["--validation", "photos", "--patience", "1", "--label-smoothing", "0.1", "--mixup", "0.2", "--lr", "1e-9"]
    assert finetune("other", *held, "--epochs", "9") == 0
    assert load_encoder("other").fingerprint != load_encoder("tuned").fingerprint
    options = {"epochs": 1, "augment": "flip", "views": 1}
    more = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    assert main(["fit", "photos", "--encoder", ENCODER, "--strategy", "last(1)", *more, "--out", "model"]) == 0
    assert FewShotClassifier.load("model").tuning == options


def test_every_option_of_fine_tune_stands_on_the_command_line() -> None:
    from fewshot.cli.tuning_options import _OPTIONS

    elsewhere = {"encoder", "source", "strategy", "target", "alignment", "validation", "patience", "out", "cache",
                 "device", "seed", "callbacks", "progress", "prefix"}  # fmt: skip
    assert set(inspect.signature(fine_tune).parameters) == elsewhere | set(_OPTIONS)


def test_aligned_with_unlabelled_pictures(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--target", "photos/b", "photos/a/0.png", "--alignment", "deep-coral(0.5)", "--optimizer", "sgd",
             "--schedule", "constant", "--warm-up", "0", "--head", "ridge", "--clip", "1", "--batch-norm", "train"]  # fmt: skip
    assert finetune("tuned", *given) == 0
    assert load_encoder("tuned").setting == "domain-adaptation"
    assert finetune("other", "--alignment", "dann") == 2
    assert "without target=; give unlabelled rows" in capsys.readouterr().err
    Path("words.txt").write_text("hello\nworld\n")
    assert finetune("other", "--target-texts", "words.txt", "--alignment", "dann") == 2
    assert "the target holds texts, which" in capsys.readouterr().err


def test_adapted_to_unlabelled_pictures_and_resumed(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune("tuned", "--quiet") == 0
    line = ["adapt", "tuned", "photos/a", "photos/b/0.png", "--method", "shot(epochs=2)", "--batch-size", "4"]
    assert main([*line, "--out", "adapted"]) == 0
    said = capsys.readouterr().err
    assert "--encoder adapted" in said and "mean confidence" in said
    assert "accuracy" not in said, "nothing is known of labels"
    first = Path("adapted/delta.safetensors").read_bytes()
    assert main([*line, "--out", "adapted"]) == 0
    assert Path("adapted/delta.safetensors").read_bytes() == first
    Path("tuned").rename("gone")  # the adapted encoder needs it no more
    adapted = load_encoder("adapted")
    assert adapted.setting == "source-free" and adapted.strategy.endswith("| shot(epochs=2)")
    assert adapted.fingerprint != load_encoder("gone").fingerprint
    assert len(adapted.rows) == 8
    assert main(["embed", "--data", "folder:photos", "--encoder", "adapted", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (["nowhere", "photos"], 1, "holds no tuned encoder"),
        (["tuned"], 2, "there is no target"),
        (["tuned", "photo"], 1, "there is no file or folder 'photo'"),
        (["tuned", "photos", "--method", "shott"], 2, "did you mean 'shot'"),
        (["tuned", "photos", "--out", "tuned"], 2, "is the tuned encoder's own folder"),
        (["tuned", "photos", "--texts", "words.txt"], 2, "not both"),
    ],
)
def test_adaptations_that_are_refused(
    line: list[str], code: int, words: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune("tuned", "--quiet") == 0
    assert main(["adapt", *line, *([] if "--out" in line else ["--out", "adapted"])]) == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--views", "4"], "views=4 without augment"),
        (["--augment", "flip", "--views", "4", "--mixup", "0.2"], "views=4 with mixup=0.2"),
        (["--augment", "flop"], "unknown augmentation 'flop'; did you mean 'flip'"),
        (["--l2-sp", "1", "2", "3"], "--l2-sp takes one number or two, and was given 3"),
        (["--swa", "2"], "swa=2.0; it must be in 0..1"),
        (["--patience", "3"], "patience=3: it counts epochs"),
        (["--swa", "0.5", "--validation", "photos"], "leave one of them out"),
    ],
)
def test_options_that_are_refused(
    given: list[str], words: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune("tuned", *given) == 2
    assert words in capsys.readouterr().err


def test_fit_refuses_options_of_no_strategy(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "photos", "--encoder", ENCODER, "--layer-decay", "0.5", "--out", "model"]) == 2
    assert "--layer-decay says how an encoder is fine-tuned" in capsys.readouterr().err
    for tuning, words in (
        ({"swaa": 1}, "unknown option of tuning 'swaa'; did you mean 'swa'"),
        ({"augment": print}, "cannot be saved with the classifier"),
    ):
        with pytest.raises(ValueError, match=words):
            FewShotClassifier(ENCODER, strategy="last(1)", tuning=tuning).fit(
                [np.zeros((28, 28), np.uint8)] * 2, [0, 1]
            )
    with pytest.raises(ValueError, match="strategy is None"):
        FewShotClassifier(ENCODER, tuning={"swa": 0.5}).fit([np.zeros((28, 28), np.uint8)] * 2, [0, 1])


@pytest.mark.parametrize(
    ("data", "encoder", "strategy", "words"),
    [
        ("photos", "timm:resnet50.a1_in1k", "full", "are not on this machine"),
        ("one", ENCODER, "full", "there is one class, 'a'; fine-tuning needs at least two"),
        ("gap", ENCODER, "full", "class folders without pictures in 'gap': 'b'; fill or delete them"),
        ("photos", "pixels", "last(1)", "'pixels' has no network to train; 'linear-probe'"),
        ("photos", ENCODER, "last(9)", "last(9), but there are 4 stages (layers.0,"),
        ("photos", ENCODER, "lora(2, targets=['qkv'])", "unknown layer to adapt 'qkv'"),
        ("texts.csv", "tfidf:texts.csv", "last(1)", "has no network to train; 'linear-probe'"),
        ("texts.csv", ENCODER, "full", f"'texts.csv' holds texts, which '{ENCODER}' does not encode"),
    ],
)
def test_what_cannot_be_trained_says_why(
    data: str, encoder: str, strategy: str, words: str, photos: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("gap/a").mkdir(parents=True)
    Path("gap/b").mkdir()
    Path("gap/a/0.png").write_bytes(Path("photos/a/0.png").read_bytes())
    Path("one/a").mkdir(parents=True)
    Path("one/a/0.png").write_bytes(Path("photos/a/0.png").read_bytes())
    Path("texts.csv").write_text("text,label\n" + "".join(f"word {row},{'ab'[row % 2]}\n" for row in range(6)))
    assert main(["finetune", data, "--encoder", encoder, "--strategy", strategy, "--quiet", "--out", "tuned"]) != 0
    assert words in capsys.readouterr().err


def test_errors(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune("tuned", encoder="photos") == 2
    assert "is a folder, but holds no tuned encoder" in capsys.readouterr().err
    assert finetune("tuned", encoder="resnet18") == 2
    assert "'resnet18' is a model without its family; write 'timm:resnet18'" in capsys.readouterr().err
    Path("half").mkdir()
    Path("half/tuned.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"encoder\.json"):
        load_encoder("half")

"""`fewshot finetune`, and what it makes as an encoder of everything else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewshot import FewShotClassifier, load_encoder
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


def test_errors(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune("tuned", encoder="photos") == 2
    assert "is a folder, but holds no tuned encoder" in capsys.readouterr().err
    assert finetune("tuned", encoder="resnet18") == 2
    assert "'resnet18' is a model without its family; write 'timm:resnet18'" in capsys.readouterr().err
    Path("half").mkdir()
    Path("half/tuned.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"encoder\.json"):
        load_encoder("half")

"""Saved classifiers that are damaged or hostile: only errors that name the file and the field, and no code runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from fewshot import FewShotClassifier
from fewshot.registry import parse_spec

ODD = [None, True, -1, 0, 10**400, 1e308, "", "x", "9" * 5000, [], [None], [[1]], {}, {"object": 3}, "\ud800"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    X, y = random.normal(size=(12, 5)), np.repeat(["ant", "bee", "fly"], 4)
    return FewShotClassifier(reject=0.1).fit(X, y).save(tmp_path / "model")


def refused_or_read(folder: Path) -> str | None:
    try:
        FewShotClassifier.load(folder).predict(np.zeros((1, 5)))
    except ValueError as error:
        assert len(str(error)) < 1500
        return str(error)
    return None


def test_every_field_missing_or_of_another_type(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for name in config:
        path.write_text(json.dumps({key: value for key, value in config.items() if key != name}))
        message = refused_or_read(folder)
        assert message is None or (str(folder) in message and (name in message or name == "kind")), (name, message)
        assert message or name in (
            "fewshot",
            "tuning",
            "encoder_fingerprint",
            "encoder_sha256",
            "calibrated",
            "strategy",
            "seen",
        ), name
        for value in ODD:
            path.write_text(json.dumps({**config, name: value}))
            message = refused_or_read(folder)
            assert message is None or str(folder) in message, (name, value, message)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("classes_dtype", "<U900000000", "classes_dtype' asks for|labels never are"),
        ("classes_dtype", "<U99999", "asks for 99999 characters, its classes have 3"),
        ("classes_dtype", "<U1", "a label twice, or one that is no '<U1'"),
        ("classes_dtype", "<i8", "the field 'classes' cannot be '<i8'"),
        ("classes", ["a", "a", "b"], "a label twice"),
        ("classes", ["a", "b"], "does not number the 2 classes"),
        ("temperature", 0, "the field 'temperature' is 0.0; it must be at least"),
        ("temperature", "warm", r"the field 'temperature' is a string \('warm'\); it must be a number"),
        ("feature_names", ["a"], "has other columns than config.json names"),
        ("learner", "tim(steps=" + "9" * 5000 + ")", "cannot read the spec"),
        ("learner", "x" * 10**6, "1,000,000 characters"),
    ],
)
def test_fields_are_named(folder: Path, name: str, value: Any, message: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ValueError, match=message):
        FewShotClassifier.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("support"),
        lambda tensors: tensors.pop("labels"),
        lambda tensors: tensors.update(labels=tensors["labels"] + 7),
        lambda tensors: tensors.update(labels=tensors["labels"].float()),
        lambda tensors: tensors.update(labels=tensors["labels"][:3].clone()),
        lambda tensors: tensors.update(support=tensors["support"] * torch.nan),
        lambda tensors: tensors.update(support=tensors["support"].to(torch.bfloat16)),
        lambda tensors: tensors.update(support=tensors["support"][None]),
        lambda tensors: tensors.update({"learner.weight": torch.ones(3)}),
    ],
)
def test_tensors_that_do_not_fit_are_refused(folder: Path, change: Callable[[Any], Any]) -> None:
    """Their checksum is right: somebody made this file so."""
    tensors = load((folder / "model.safetensors").read_bytes())
    change(tensors)
    replace_model(folder, save(tensors))
    with pytest.raises(ValueError, match="model"):
        FewShotClassifier.load(folder)


def replace_model(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    config["model_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


def test_flipped_and_missing_bytes(folder: Path) -> None:
    random = np.random.default_rng(0)
    expected = FewShotClassifier.load(folder).predict(np.eye(5))
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    for trial in range(80):
        path = folder / ("config.json", "model.safetensors")[trial % 2]
        data = bytearray(whole[path])
        if trial % 4 < 2:
            data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        else:
            del data[int(random.integers(len(data))) :]
        if trial % 8 > 3 and path.name == "model.safetensors":
            replace_model(folder, bytes(data))
        else:
            path.write_bytes(data)
        message = refused_or_read(folder)
        if path.name == "model.safetensors" and trial % 8 < 4:
            assert message
        for other, content in whole.items():
            other.write_bytes(content)
    assert (FewShotClassifier.load(folder).predict(np.eye(5)) == expected).all()


def test_deep_json_and_pipes(folder: Path) -> None:
    import os

    path = folder / "config.json"
    path.write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"config\.json' is (nested too deeply|damaged)"):
        FewShotClassifier.load(folder)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match="no regular file"):
        FewShotClassifier.load(folder)


# Encoders in saved files


@pytest.mark.parametrize(
    "encoder",
    [
        "text:{here}", "text:~/model", "text:./model", "text:model", "open_clip:local-dir:{here}",
        "open_clip:ViT-B-32@{here}/w.pt", "timm:resnet18(checkpoint='{here}/w.pt')", "text:C:\\model",
        "other(folder='{here}')",
    ],
)  # fmt: skip
def test_paths_in_saved_files_must_be_confirmed(
    folder: Path, tmp_path: Path, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # here "model" is a folder
    mark = tmp_path / "it ran"
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "evil.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nclass Net: pass\n")
    (hostile / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "evil.Net"}]')
    config = json.loads((folder / "config.json").read_text())
    config["encoder"] = encoder.format(here=hostile)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="names files of a machine"):
        FewShotClassifier.load(folder)
    assert not mark.exists()


def test_a_path_that_is_confirmed_is_taken(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["encoder"] = "text:/nowhere"
    (folder / "config.json").write_text(json.dumps(config))
    assert len(FewShotClassifier.load(folder, encoder=None).classes_) == 3


@pytest.mark.parametrize("kind", ["evil.Net", "os.path.join", "sentence_transformers_evil.X", 3, None])
def test_sentence_encoders_run_no_code_from_a_folder(tmp_path: Path, kind: Any) -> None:
    pytest.importorskip("sentence_transformers")
    from fewshot import load_encoder

    mark = tmp_path / "it ran"
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nclass Net: pass\n")
    (tmp_path / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}]))
    with pytest.raises(ValueError, match=r"modules\.json"):
        load_encoder(f"text:{tmp_path}")
    (tmp_path / "modules.json").write_text(
        '[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}]'
    )
    (tmp_path / "router_config.json").write_text(json.dumps({"types": {"a": kind}}))
    with pytest.raises(ValueError, match=r"router_config\.json"):
        load_encoder(f"text:{tmp_path}")
    assert not mark.exists()


# Specs


@pytest.mark.parametrize(
    "spec",
    [
        "f(a=" + "9" * 5000 + ")", "f(a=" + "(" * 500 + ")", "f(a=" + "[" * 3000 + "]" * 3000 + ")",
        "f(a={[]: 1})", "f(a=-'x')", "f(a=1e400**9)", "f(a=\0)", "f(" * 2000, "f(a=\ud800)", "f(a=" + "-" * 9000 + "1)",
    ],
)  # fmt: skip
def test_specs_that_hurt_are_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="cannot read the spec"):
        parse_spec(spec)

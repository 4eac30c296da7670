"""A saved classifier answers the same; damaged folders are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from classifier_examples import Weighted, feature_learners

from fewshot import load_learner
from fewshot.classifier import FewShotClassifier


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("labels", [list("abcdefghij"), list(range(10)), [f"ünï {i}" for i in range(10)]])
def test_saved_classifier_answers_the_same(
    labels: list[Any], dtype: type, digits: tuple[np.ndarray, ...], tmp_path: Path
) -> None:
    X, y, X_new, _ = digits
    X, X_new = X.astype(dtype), X_new.astype(dtype)
    saved = FewShotClassifier(learner="prototypes(scale=2.0)", reject=0.3).fit(X, np.array(labels)[y]).calibrate()
    loaded = FewShotClassifier.load(saved.save(tmp_path / "model"))
    assert {file.name for file in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors"}
    assert loaded.get_params() == saved.get_params()
    assert loaded.classes_.dtype == saved.classes_.dtype
    assert loaded.n_features_in_ == 64
    np.testing.assert_array_equal(loaded.predict_proba(X_new), saved.predict_proba(X_new))
    np.testing.assert_array_equal(loaded.predict(X_new), saved.predict(X_new))
    more = X_new[:5], np.array(labels)[:5]
    np.testing.assert_array_equal(
        loaded.partial_fit(*more).predict_proba(X_new), saved.partial_fit(*more).predict_proba(X_new)
    )
    assert FewShotClassifier.load(tmp_path / "model", reject=None).reject is None


@pytest.mark.parametrize("name", feature_learners())
def test_every_learner_can_be_saved(name: str, digits: tuple[np.ndarray, ...], tmp_path: Path) -> None:
    X, y, X_new, _ = digits
    saved = FewShotClassifier(learner=load_learner(name), calibrated=False).fit(X, y)
    loaded = FewShotClassifier.load(saved.save(tmp_path))
    np.testing.assert_array_equal(loaded.decision_function(X_new), saved.decision_function(X_new))


def test_learned_weights_are_saved(
    digits: tuple[np.ndarray, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y, X_new, _ = digits
    learner = Weighted()
    with torch.no_grad():
        learner.weight.uniform_(0, 1, generator=torch.Generator().manual_seed(0))
    saved = FewShotClassifier(learner=learner).fit(X, y)
    with pytest.raises(ValueError, match=r"entry-point group 'fewshot\.learners'"):
        saved.save(tmp_path)
    monkeypatch.setattr("fewshot.learners.LEARNERS.get", lambda name: {"weighted": Weighted}[name])
    loaded = FewShotClassifier.load(saved.save(tmp_path))
    np.testing.assert_array_equal(loaded.decision_function(X_new), saved.decision_function(X_new))


def test_column_names_survive(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"height": [0.0, 1.0], "width": [1.0, 0.0]})
    loaded = FewShotClassifier.load(FewShotClassifier().fit(frame, ["tall", "wide"]).save(tmp_path))
    assert loaded.feature_names_in_.tolist() == ["height", "width"]
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.rename(columns={"width": "depth"}))


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    folder = FewShotClassifier().fit(np.eye(2), ["a", "b"]).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        FewShotClassifier.load(tmp_path)
    config, model = (folder / "config.json").read_text(), (folder / "model.safetensors").read_bytes()
    for change, message in {
        config[:40]: "not JSON",
        "[]": "not that of a FewShotClassifier",
        config.replace('"format": 2', '"format": 3'): "format 3.*Upgrade",
        config.replace("<U1", "<M8[s]"): "labels never are",
    }.items():
        (folder / "config.json").write_text(change)
        with pytest.raises(ValueError, match=message):
            FewShotClassifier.load(folder)
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
    with pytest.raises(ValueError, match="damaged or from another save"):
        FewShotClassifier.load(folder)


def test_files_of_earlier_versions_open(tmp_path: Path) -> None:
    """Before probabilities were calibrated in `fit`, a file said nothing of it, and its temperature was 1."""
    fitted = FewShotClassifier(calibrated=False).fit(np.eye(2), ["a", "b"])
    config = json.loads((fitted.save(tmp_path) / "config.json").read_text())
    del config["calibrated"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(
        FewShotClassifier.load(tmp_path).predict_proba(np.eye(2)), fitted.predict_proba(np.eye(2))
    )


def test_saving_over_a_folder_replaces_it(tmp_path: Path) -> None:
    FewShotClassifier().fit(np.eye(2), ["a", "b"]).save(tmp_path)
    FewShotClassifier(reject=np.float32(0), reject_label="none").fit(np.eye(3), ["x", "y", "z"]).save(tmp_path)
    assert FewShotClassifier.load(tmp_path).classes_.tolist() == ["x", "y", "z"]
    assert json.loads((tmp_path / "config.json").read_text())["learner"] == "l2 | logistic"

"""Predictions that were kept: the same however a run was cut up, checked when read, and summed up right."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from episodes import EpisodeSampler, OpenSetSampler, Results, TensorSource, VariableSampler, evaluate
from episodes.episode_map import as_arrays
from episodes.predictions import Predictions, load_predictions, predictions_path

NAMES = [f"class {c}" for c in range(8)]


@pytest.fixture
def source(source: TensorSource) -> TensorSource:
    """The Gaussian classes with names."""
    return TensorSource(source.features, source.labels, NAMES, name=source.name)


def near(episode):  # type: ignore[no-untyped-def]
    means = episode.one_hot.mT @ episode.support / episode.shots.clamp(min=1).unsqueeze(-1)
    return -torch.cdist(episode.query, means)


def stopped(episode):  # type: ignore[no-untyped-def]
    if int(episode.ids[0]) >= 1024:
        raise KeyboardInterrupt
    return near(episode)


def equal(a: Predictions, b: Predictions) -> bool:
    names = [f.name for f in dataclasses.fields(Predictions) if f.name != "maps"]
    drawn = [as_arrays(one.maps) if one.maps else {} for one in (a, b)]
    return (
        all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)
        and drawn[0].keys() == drawn[1].keys()
        and all(np.array_equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    )


@pytest.mark.parametrize("kind", [EpisodeSampler, OpenSetSampler, VariableSampler])
def test_answers_belong_to_their_queries(source: TensorSource, kind: type) -> None:
    sampler = kind(source.labels) if kind is VariableSampler else kind(source.labels, way=4, shot=2, query=6)
    result = evaluate({"near": near}, source, sampler, episodes=30, chunk=7, keep_predictions=True)["near"]
    kept, drawn, place = result.predictions, sampler.draw(0, 30), 0
    np.testing.assert_allclose(kept.accuracies(), result.scores)
    for e in range(30):
        asked = drawn.targets[e] >= 0
        rows = drawn.query[e][asked].numpy()
        part = slice(place, place + len(rows))
        np.testing.assert_array_equal(kept.rows[part], rows)
        np.testing.assert_array_equal(kept.targets[part], source.labels.numpy()[rows])
        assert set(kept.predicted[part]) <= set(drawn.classes[e].tolist())
        place = part.stop
    assert place == len(kept.rows)


def test_sums_equal_scikit_learn(source: TensorSource) -> None:
    sampler = EpisodeSampler(source.labels, way=4, shot=1, query=6)
    result = evaluate({"near": near}, source, sampler, episodes=40, keep_predictions=True)["near"]
    kept = result.predictions
    y, guess = kept.targets, kept.predicted
    np.testing.assert_array_equal(result.confusion().counts, sklearn_metrics.confusion_matrix(y, guess))
    assert result.confusion().names == NAMES
    report = sklearn_metrics.classification_report(y, guess, target_names=NAMES, output_dict=True)
    for one in result.per_class():
        assert (one.accuracy, one.precision, one.f1, one.queries) == pytest.approx(
            tuple(report[one.name][key] for key in ("recall", "precision", "f1-score", "support"))
        )
    assert kept.accuracy == pytest.approx(result.mean)
    assert kept.macro_f1 == pytest.approx(report["macro avg"]["f1-score"])
    assert kept.balanced_accuracy == pytest.approx(report["macro avg"]["recall"])
    loss = evaluate({"near": near}, source, sampler, episodes=40, metric="log-loss")["near"]
    assert kept.log_loss == pytest.approx(loss.mean, rel=1e-5)
    assert 0 < kept.calibration_error() < 1


def test_an_interrupted_run_keeps_the_same_answers(source: TensorSource, tmp_path: Path) -> None:
    sampler = EpisodeSampler(source.labels, way=4, shot=1, query=3)
    whole = evaluate({"near": near}, source, sampler, episodes=1500, keep_predictions=True)["near"].predictions

    out = tmp_path / "runs.jsonl"
    learner = {"near": Switch(stopped)}
    with pytest.raises(KeyboardInterrupt):
        evaluate(learner, source, sampler, episodes=1500, keep_predictions=True, out=out)
    learner["near"].log.function = near
    resumed = evaluate(learner, source, sampler, episodes=1500, keep_predictions=True, out=out)["near"]
    assert isinstance(resumed.kept, Path)
    assert equal(resumed.predictions, whole)
    assert equal(Results.load(out)["near"].predictions, whole)
    # Scores without answers are not enough; answers without a line are not lost.
    resumed.kept.unlink()
    again = evaluate(learner, source, sampler, episodes=1500, keep_predictions=True, out=out)["near"]
    assert equal(again.predictions, whole)
    assert len(out.read_text().splitlines()) == 1
    shorter = evaluate(learner, source, sampler, episodes=10, keep_predictions=True, out=out)["near"]
    assert equal(shorter.predictions, whole.first(10))
    copy = tmp_path / "copy.jsonl"
    Results.load(out).save(copy)
    assert equal(Results.load(copy)["near"].predictions, whole)


class Switch:
    """A learner whose behaviour is changed behind its identity, as a killed process is by starting anew."""

    def __init__(self, function) -> None:  # type: ignore[no-untyped-def]
        import threading

        self.log = threading.local()
        self.log.function = function

    def __call__(self, episode):  # type: ignore[no-untyped-def]
        return self.log.function(episode)


def test_files_are_checked(source: TensorSource, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "runs.jsonl"
    sampler = EpisodeSampler(source.labels, way=4, shot=1, query=3)

    def run() -> Predictions:
        return evaluate({"near": near}, source, sampler, episodes=20, keep_predictions=True, out=out)[
            "near"
        ].predictions

    whole, (cell,) = run(), Results.load(out).cells
    path = predictions_path(out, cell.key)
    good = path.read_bytes()
    for place in (3, 40, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        with pytest.raises(ValueError, match=r"safetensors' (is damaged|holds predictions of another)"):
            load_predictions(path, cell.key)
    assert equal(run(), whole)
    assert "is damaged" in caplog.text
    assert path.read_bytes()[-100:] == good[-100:]
    path.write_bytes(good[:200])
    with pytest.raises(ValueError, match="is damaged"):
        _ = Results.load(out)["near"].predictions
    path.write_bytes(good)
    with pytest.raises(ValueError, match="holds predictions of another result"):
        load_predictions(path, "0" * 32)
    with pytest.raises(ValueError, match="is missing"):
        load_predictions(tmp_path / "none", cell.key)
    flat = dataclasses.replace(whole, predicted=whole.targets)
    with pytest.raises(ValueError, match="give other accuracies"):
        flat.of_scores(cell.scores, accuracies=True)


def test_answers_that_were_not_kept(source: TensorSource) -> None:
    sampler = EpisodeSampler(source.labels, way=4, shot=1, query=3)
    result = evaluate({"near": near}, source, sampler, episodes=4)["near"]
    with pytest.raises(ValueError, match="were not kept; evaluate with keep_predictions=True"):
        result.confusion()

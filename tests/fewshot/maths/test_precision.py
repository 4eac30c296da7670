"""Numbers at the edges: offsets, scales, precisions, rows that no learner can compute with."""

from __future__ import annotations

import pytest
import torch
from learner_episodes import make
from torch import Tensor

from episodes import Episode, TensorSource
from fewshot import FewShotClassifier, load_learner
from fewshot.learners import list_learners
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.precision import readable
from fewshot.testing.trial import Trial

# Some cost seconds and some differ in how they are trained only; they share the door that is tested here.
LEFT_OUT = {"tim", "alpha-tim", "distribution-calibration", "fomaml", "anil", "boil", "metasgd", "maml++", "reptile"}
FEATURES = [name for name in list_learners() if name not in LEFT_OUT and load_learner(name).inputs == "features"]
ROWS = ("support", "query", "unlabelled")


def changed(episode: Episode, change, fields: tuple[str, ...] = ROWS) -> Episode:  # type: ignore[no-untyped-def]
    return episode.replace(**{name: change(rows) for name in fields if (rows := getattr(episode, name)) is not None})


@pytest.mark.parametrize("spec", ["prototypes", "nearest", "lda", "mahalanobis", "subspace", "tim(steps=20)", "tim-adm",
                                  "ridge", "logistic", "simpleshot", "cl2n | prototypes", "soft-kmeans"])  # fmt: skip
@pytest.mark.parametrize("sensor", [False, True])
def test_rows_far_from_zero_are_classified_as_well(spec: str, sensor: bool) -> None:
    """A sensor that reads 101,325 in one feature, or 3,000 in all; scikit-learn has every query right here."""
    episode, targets = make([3] * 5, dim=24, spread=3.0, episodes=10, query=4)
    offset = torch.zeros(24, dtype=torch.float64)
    offset[3 if sensor else slice(None)] = 101_325.0 if sensor else 3_000.0
    far = changed(episode, lambda rows: (rows + offset).float())
    answers = load_learner(spec)(far).argmax(-1)
    assert (answers == targets).double().mean() > 0.99
    assert torch.equal(answers, load_learner(spec)(changed(far, Tensor.double)).argmax(-1))


def test_a_class_without_rows_does_not_pull_the_centre_to_zero() -> None:
    episode, targets = make([3, 0, 3, 3], dim=24, spread=3.0)
    far = changed(episode, lambda rows: (rows + 3e4).float())
    right = targets != 1
    for spec in ("prototypes", "soft-kmeans", "lda", "tim-adm"):
        answers = load_learner(spec)(far).argmax(-1)
        assert (answers == targets)[right].double().mean() > 0.99, spec


def test_nothing_is_subtracted_near_zero() -> None:
    """So that ordinary features cost no copy of the queries."""
    episode, _ = make([3, 3, 3])
    relative = relative_to_centre(episode)
    assert relative.episode is episode
    assert not relative.offset.any()
    assert shifted(episode.query, relative.offset) is episode.query
    assert relative_to_centre(changed(episode, lambda rows: rows + 1e3)).offset.all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("spec", FEATURES)
def test_half_precision_is_computed_in_float32(spec: str, dtype: torch.dtype) -> None:
    trial = Trial(load_learner(spec).eval())
    half = changed(trial.episode, lambda rows: rows.to(dtype), (*ROWS, "text"))
    with torch.no_grad():
        found = trial.logits(half)
        expected = trial.logits(changed(half, Tensor.float, (*ROWS, "text")))
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_half_precision_learners_keep_it() -> None:
    learner = load_learner("relation(dim=16)").bfloat16()
    episode = changed(Trial(learner).episode, Tensor.bfloat16)
    assert readable(episode, learner).query.dtype == torch.bfloat16


@pytest.mark.parametrize("spec", FEATURES)
def test_rows_that_are_not_finite_are_named(spec: str) -> None:
    learner = load_learner(spec).eval()
    trial = Trial(learner)
    for field in sorted({"query"} | set(learner.needs)):
        for value in (torch.nan, torch.inf):
            rows = getattr(trial.episode, field).clone()
            rows[1, 2, 0] = value
            # scikit-learn refuses them in its own words.
            said = r"NaN|infinity" if spec == "sklearn" else f"{field} row 2 of episode 1 contains NaN or infinity"
            with pytest.raises(ValueError, match=said):
                trial.logits(trial.episode.replace(**{field: rows}))


def test_padding_may_hold_anything() -> None:
    episode, _ = make([2, 3, 4])
    labels = episode.labels.clone()
    labels[:, 4] = -1
    support = episode.support.clone()
    expected = load_learner("ridge")(episode.replace(labels=labels))
    support[:, 4] = torch.nan
    torch.testing.assert_close(load_learner("ridge")(episode.replace(support=support, labels=labels)), expected)


@pytest.mark.parametrize("factor", [1e-30, 1e25])
def test_rows_out_of_range_are_classified_or_refused(factor: float) -> None:
    for spec in FEATURES:
        learner = load_learner(spec).eval()
        trial = Trial(learner)
        extreme = changed(trial.episode, lambda rows: factor * rows)
        if "scale" in learner.invariant:
            assert (trial.logits(extreme).argmax(-1) == trial.targets).float().mean() > 0.9, spec
        else:
            with pytest.raises(ValueError, match=r"which .* cannot compute with: its settings suit features between"):
                trial.logits(extreme)


def test_tiny_features_in_the_classifier() -> None:
    X, y = 1e-30 * torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.8]]), [0, 0, 1, 1]
    assert FewShotClassifier(learner="prototypes").fit(X, y).predict(X.flip(0)).tolist() == [1, 1, 0, 0]
    assert FewShotClassifier(learner="lda").fit(X.half().numpy() + X.numpy(), y).score(X.numpy(), y) == 1
    with pytest.raises(ValueError, match="Scale the features"):
        FewShotClassifier(learner="ridge").fit(X, y)


def test_rows_without_features_are_refused() -> None:
    nothing = torch.zeros(1, 2, 0)
    for spec in ("prototypes", "l2 | ridge", "matching"):
        with pytest.raises(ValueError, match="there are no features"):
            load_learner(spec)(Episode(nothing, torch.tensor([[0, 1]]), nothing, way=2))


@pytest.mark.parametrize(
    ("change", "words"),
    [(Tensor.to_sparse, "is sparse .* dense rows are needed"), (lambda rows: rows + 1j, "holds complex numbers")],
    ids=["sparse", "complex"],
)
def test_sparse_and_complex_rows_are_refused(change, words: str) -> None:  # type: ignore[no-untyped-def]
    rows, labels = torch.eye(4), torch.tensor([[0, 1, 0, 1]])
    for field in ("support", "query"):
        with pytest.raises(ValueError, match=f"{field} {words}"):
            Episode(
                **{"support": rows[None], "query": rows[None], "labels": labels, "way": 2, field: change(rows[None])}
            )
    with pytest.raises(ValueError, match=f"features {words}"):
        TensorSource(change(rows), labels[0])
    with pytest.raises((ValueError, TypeError), match=r"dense|[Cc]omplex"):
        FewShotClassifier().fit(change(rows), labels[0].tolist())

"""Learners that take rows out of what they learned answer as if they had been fitted to the others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from episodes.episode import Support
from fewshot import Learner, load_learner
from fewshot.classifier.folds import held_out_folds
from fewshot.learners.lda import LDA
from fewshot.learners.mahalanobis import Mahalanobis
from fewshot.learners.ridge import Ridge

SPECS = [
    "nearest", "nearest(k=3)", "ridge", "ridge(alpha=0.1, scale=3.0)", "ridge(fit_intercept=False)", "lda",
    "lda(shrinkage='oas')", "lda(shrinkage=0.3, prior='empirical')", "logistic", "logistic(C=5.0)", "l2 | ridge",
    "cl2n | lda", "mahalanobis", "mahalanobis(regularisation=1.0)",
    "distribution-calibration",
]  # fmt: skip
SHOTS = [[5] * 6, [2] * 6, [2, 3, 9, 14, 5, 1]]


def drawn(shots: list[int], dim: int, dtype: torch.dtype, *, weighted: bool = False, offset: float = 2.0) -> Support:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(len(shots)).repeat_interleave(torch.tensor(shots))
    labels = labels[torch.randperm(len(labels), generator=random)]
    rows = torch.randn(len(shots), dim, generator=random)[labels]
    rows = rows + torch.randn(len(labels), dim, generator=random) + offset
    weights = torch.rand(1, len(labels), generator=random) + 0.1 if weighted else None
    return Support(
        rows.to(dtype)[None],
        labels[None],
        way=len(shots),
        ids=torch.zeros(1, dtype=torch.int64),
        weights=None if weights is None else weights.to(dtype),
    )


def masks(support: Support) -> Tensor:
    """Folds as calibration makes them; of unequal classes they are of unequal size."""
    folds = held_out_folds(support.labels[0], whole=True)
    left = torch.zeros(len(folds), support.labels.shape[1], dtype=torch.bool)
    for fold, rows in zip(left, folds, strict=True):
        fold[rows] = True
    return left


def asked(support: Support) -> Tensor:
    """Rows between those of the support ``[1, S, D]``."""
    return support.support.lerp(support.support.roll(1, 1), 0.4)


def explicit(learner: Learner, support: Support, left: Tensor) -> list[Tensor]:
    """Logits ``[S, N]`` of learners that were given the other rows alone."""
    found = []
    for out in left:
        kept = (~out).nonzero().squeeze(1)
        weights = None if support.weights is None else support.weights[:, kept]
        rest = support.replace(support=support.support[:, kept], labels=support.labels[:, kept], weights=weights)
        found.append(learner.predict(learner.adapt(rest), asked(support))[0])
    return found


@torch.no_grad()
def agrees(spec: str, support: Support, left: Tensor) -> None:
    learner = load_learner(spec)
    state = learner.adapt_without(learner.adapt(support), support, left)
    found = learner.predict(state, asked(support).expand(len(left), -1, -1))
    for ours, expected in zip(found, explicit(learner, support, left), strict=True):
        size = expected[expected.isfinite()].abs().max().item()
        # Relative to another offset, all classes may have a constant more: no probability changes.
        torch.testing.assert_close(ours.log_softmax(-1), expected.log_softmax(-1), rtol=0, atol=1e-5 * max(1.0, size))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dim", [4, 60])  # fewer features than rows, and more
@pytest.mark.parametrize("shots", SHOTS, ids=str)
@pytest.mark.parametrize("spec", SPECS)
def test_equals_fitting_the_others(spec: str, shots: list[int], dim: int, dtype: torch.dtype) -> None:
    support = drawn(shots, dim, dtype)
    agrees(spec, support, masks(support))


@pytest.mark.parametrize("dim", [4, 60])
@pytest.mark.parametrize("spec", ["ridge", "ridge(alpha=0.1)", "logistic"])
def test_equals_fitting_the_others_with_weights(spec: str, dim: int) -> None:
    support = drawn([5, 2, 7, 3], dim, torch.float64, weighted=True)
    agrees(spec, support, masks(support))


@pytest.mark.parametrize("spec", ["nearest", "ridge", "lda", "mahalanobis"])
def test_equals_fitting_the_others_far_from_zero(spec: str) -> None:
    support = drawn([5] * 6, 4, torch.float32, offset=3000.0)
    agrees(spec, support, masks(support))


@pytest.mark.parametrize("spec", ["nearest", "ridge", "lda", "logistic", "mahalanobis"])
def test_a_class_may_lose_all_its_rows(spec: str) -> None:
    support = drawn([5, 4, 3], 4, torch.float64)
    agrees(spec, support, (support.labels == 1).expand(2, -1))


@pytest.mark.parametrize("spec", ["ridge", "lda", "mahalanobis"])
def test_where_hardly_any_scatter_remains_it_is_not_a_difference(spec: str) -> None:
    """All but one row are the same but for 1e-9, of which a difference of sums would know nothing."""
    random = torch.Generator().manual_seed(0)
    rows = 1e-9 * torch.randn(1, 9, 2, generator=random, dtype=torch.float64)
    rows[0, 0] += 1
    labels = torch.arange(3).repeat(1, 3)
    support = Support(rows, labels, way=3, ids=torch.zeros(1, dtype=torch.int64))
    left = torch.zeros(1, 9, dtype=torch.bool)
    left[0, :3] = True
    agrees(spec, support, left)


@pytest.mark.parametrize("learner", [Ridge(), LDA(), Mahalanobis()])
def test_the_inner_products_of_all_rows_are_formed_once(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    support = drawn([5] * 6, 4, torch.float64)
    state = learner.adapt(support)
    monkeypatch.setattr(type(learner), "adapt", None)  # it is not called
    learner.adapt_without(state, support, masks(support))


def test_a_learner_with_its_own_adapt_does_not_inherit_how_another_leaves_rows_out() -> None:
    class Flattened(Ridge):
        def adapt(self, support: Support) -> object:
            return super().adapt(support.replace(support=support.support.sign()))

    support = drawn([3] * 3, 4, torch.float64)
    learner, left = Flattened(), masks(support)
    state = learner.adapt_without(learner.adapt(support), support, left)
    found = learner.predict(state, asked(support).expand(3, -1, -1))
    for ours, expected in zip(found, explicit(learner, support, left), strict=True):
        torch.testing.assert_close(ours, expected)

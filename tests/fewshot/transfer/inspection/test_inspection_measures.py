"""Numbers, planes and answers of an inspection against plain NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from fewshot.transfer.inspection.answers import Answers, changes, paired
from fewshot.transfer.inspection.geometry import class_geometry
from fewshot.transfer.inspection.left_out import left_out_nearest_mean, left_out_ridge
from fewshot.transfer.inspection.measures import measure, standardised, stratified_folds
from fewshot.transfer.inspection.planes import Plane, common_axes, plane, turned

LABELS = torch.tensor([0, 1, 2, 1] * 12)


def rows(width: int, distance: float = 1.5) -> torch.Tensor:
    random = torch.Generator().manual_seed(width)
    centres = distance * torch.randn(3, width, generator=random)
    return centres[LABELS] + torch.randn(len(LABELS), width, generator=random) + 5


@pytest.mark.parametrize("width", [4, 90])
def test_left_out_ridge_is_ridge_fitted_without_each_fold(width: int) -> None:
    exact, folds = standardised(rows(width)), stratified_folds(LABELS, 5, 0)
    scores = left_out_ridge(exact, LABELS, folds).numpy()
    target = np.eye(3)[LABELS.numpy()]
    x, f = exact.numpy(), folds.numpy()
    best = []
    for factor in np.logspace(-4, 4, 17):  # of the penalties offered, one must give these very scores
        penalty = factor * (x**2).sum() / len(x)
        slow = np.empty_like(target)
        for fold in range(5):
            slow[f == fold] = Ridge(alpha=penalty).fit(x[f != fold], target[f != fold]).predict(x[f == fold])
        hat = x @ np.linalg.solve(x.T @ x + penalty * np.eye(width), x.T) + 1 / len(x)
        best.append((((target - hat @ target) ** 2).mean() / (1 - np.trace(hat) / len(x)) ** 2, slow))
    np.testing.assert_allclose(scores, min(best, key=lambda one: one[0])[1], atol=1e-6)


def test_folds_spread_each_class_evenly_and_depend_on_the_seed() -> None:
    folds = stratified_folds(LABELS, 5, 0)
    for label in range(3):
        counts = torch.bincount(folds[label == LABELS], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert torch.equal(folds, stratified_folds(LABELS, 5, 0))
    assert not torch.equal(folds, stratified_folds(LABELS, 5, 1))


def test_rows_that_say_nothing_are_answered_with_the_largest_class() -> None:
    flat = torch.ones(len(LABELS), 6)
    numbers = measure("flat", flat, LABELS, stratified_folds(LABELS, 5, 0))
    assert numbers.accuracy == 0.5 and numbers.within_between == float("inf")
    noise = torch.randn(300, 40, generator=torch.Generator().manual_seed(0))
    fair = torch.arange(300) % 2
    score = measure("noise", noise, fair, stratified_folds(fair, 5, 0))
    assert abs(score.accuracy - 0.5) <= 1.5 * score.interval
    assert score.written == f"{100 * score.accuracy:.1f} ± {100 * score.interval:.1f}"
    few = measure("few", noise[:4], fair[:4], stratified_folds(fair[:4], 5, 0))
    assert few.written.endswith("± ?")


def test_geometry_equals_the_definitions() -> None:
    x, y = rows(5).double().numpy(), LABELS.numpy()
    means = np.stack([x[y == c].mean(0) for c in range(3)])
    inner = x - means[y]
    within = inner.T @ inner / len(x)
    centred = means - means.mean(0)
    between = centred.T @ centred / 3
    found = class_geometry(torch.from_numpy(x), LABELS)
    assert found["within_between"] == pytest.approx(np.trace(within) / np.trace(between))
    assert found["collapse"] == pytest.approx(np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / 3)
    lengths = np.linalg.norm(centred, axis=1)
    assert found["norm_spread"] == pytest.approx(lengths.std() / lengths.mean())
    cosines = [centred[a] @ centred[b] / lengths[a] / lengths[b] for a in range(3) for b in range(3) if a != b]
    assert found["angle_spread"] == pytest.approx(np.mean([abs(c + 0.5) for c in cosines]))
    apart = np.linalg.norm(means[0] - means[2]) / np.sqrt(np.trace(within))
    assert found["distances"][0, 2] == pytest.approx(apart)


def test_a_collapsed_simplex_has_all_measures_at_zero() -> None:
    found = class_geometry(torch.eye(3, dtype=torch.float64)[LABELS], LABELS)
    for name in ("within_between", "collapse", "norm_spread", "angle_spread"):
        assert found[name] == pytest.approx(0, abs=1e-12)


def test_nearest_mean_leaves_the_fold_out() -> None:
    x, folds = rows(6).double(), stratified_folds(LABELS, 5, 0)
    answers = left_out_nearest_mean(x, LABELS, folds)
    for row in range(len(x)):
        kept = folds != folds[row]
        means = torch.stack([x[kept & (c == LABELS)].mean(0) for c in range(3)])
        assert answers[row] == (means - x[row]).norm(dim=1).argmin()


def test_planes_show_the_axes_that_they_claim_to() -> None:
    x = rows(7)
    centred = (x - x.mean(0)).double()
    _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
    flat = plane(x, LABELS)
    assert flat.share == pytest.approx(float(singular[:2].square().sum() / singular.square().sum()))
    expected = centred @ axes[:2].mT
    cosine = (flat.points * expected).sum(0) / flat.points.norm(dim=0) / expected.norm(dim=0)
    torch.testing.assert_close(cosine.abs(), torch.ones(2, dtype=torch.float64))
    assert float(flat.points.square().sum(1).mean()) == pytest.approx(1)

    apart = plane(x, LABELS, "lda")
    theirs = torch.from_numpy(
        LinearDiscriminantAnalysis(n_components=2).fit(x.numpy(), LABELS.numpy()).transform(x.numpy())
    ).double()
    # The same plane: each of their axes is a combination of ours.
    fitted = torch.linalg.lstsq(apart.points, theirs - theirs.mean(0)).solution
    rest = theirs - theirs.mean(0) - apart.points @ fitted
    assert float(rest.norm() / theirs.norm()) < 0.02
    assert plane(x[:, :1], LABELS).points.shape == (len(x), 2)
    assert plane(x, (LABELS > 0).long(), "lda").points.shape == (len(x), 2)


def test_planes_are_turned_to_each_other() -> None:
    points = plane(rows(5), LABELS).points
    angle = torch.tensor(1.1)
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]], dtype=torch.float64)
    torch.testing.assert_close(turned(points @ turn * torch.tensor([1.0, -1.0]), points), points)
    chain, after = common_axes(
        [Plane(points @ turn, 0.5), Plane(points, 0.5)], [Plane(-points, 0.5), Plane(points @ turn, 0.5)]
    )
    torch.testing.assert_close(chain[0].points, chain[1].points)
    torch.testing.assert_close(after[0].points, chain[0].points)
    torch.testing.assert_close(after[1].points, chain[1].points)


def test_paired_difference_is_mcnemar() -> None:
    before = torch.tensor([True] * 10 + [False] * 10)
    after = torch.tensor([True] * 9 + [False] + [True] * 8 + [False] * 2)
    found = paired(before, after)
    assert found.mean == pytest.approx(7 / 20)
    assert found.p_value == pytest.approx(2 * (1 + 9) / 2**9)  # of 9 rows that changed, 1 or fewer the other way


def test_changes_name_rows_of_the_source_and_what_became_of_them() -> None:
    before = Answers(torch.tensor([0, 1, 1, 0]), None, "")
    after = Answers(torch.tensor([1, 1, 0, 0]), torch.tensor([0.6, 0.9, 0.7, 0.9]), "")
    found = changes(before, after, torch.tensor([0, 1, 0, 1]), torch.tensor([5, 6, 8, 9]), ["cat", "dog"])
    assert [(one.row, one.kind, one.before, one.after) for one in found] == [
        (8, "fixed", "dog", "cat"),
        (5, "broken", "cat", "dog"),
    ]

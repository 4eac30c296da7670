"""Transferability scores against slow references, and against what is known of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import kendalltau, multivariate_normal

from fewshot.transfer import h_score, leep, linear_cka, logme, mmd, nce, neighbour_purity, proxy_a_distance

RANDOM = np.random.default_rng(0)
LABELS = np.arange(30) % 3


def rows(width: int, signal: float = 1.0, count: int = 30) -> np.ndarray:
    found = RANDOM.normal(size=(count, width))
    found[:, 0] += signal * (np.arange(count) % 3)
    return found


def slow_logme(features: np.ndarray, labels: np.ndarray) -> float:
    """The largest log density of each class's targets under N(0, I / beta + F F^T / alpha), by general search."""
    total = 0.0
    for c in np.unique(labels):
        y = (labels == c).astype(float)

        def minus(p: np.ndarray, y: np.ndarray = y) -> float:
            covariance = np.eye(len(y)) / math.exp(p[1]) + features @ features.T / math.exp(p[0])
            return -float(multivariate_normal.logpdf(y, np.zeros(len(y)), covariance, allow_singular=False))

        starts = [minimize(minus, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000})
                  for start in ((0.0, 0.0), (3.0, 1.0), (-2.0, 3.0))]  # fmt: skip
        total -= min(found.fun for found in starts)
    return total / len(np.unique(labels)) / len(labels)


@pytest.mark.parametrize("width", [4, 60])  # fewer and more features than rows
def test_logme_is_the_largest_evidence(width: int) -> None:
    features = rows(width, 2.0)
    assert logme(features, LABELS) == pytest.approx(slow_logme(features, LABELS), abs=1e-6)


def test_logme_does_not_depend_on_scale_rotation_or_names() -> None:
    features = rows(8)
    turned = features @ np.linalg.qr(RANDOM.normal(size=(8, 8)))[0]
    names = np.array(["b", "c", "a"])[LABELS]
    assert logme(100 * turned, names) == pytest.approx(logme(features, LABELS), abs=1e-9)
    assert logme(rows(8, 5.0), LABELS) > logme(rows(8, 0.0), LABELS)


def test_leep_and_nce_by_loops() -> None:
    theta = RANDOM.dirichlet(np.ones(4), size=30)
    joint = np.zeros((3, 4))
    for i in range(30):
        joint[LABELS[i]] += theta[i] / 30
    expected = np.mean(
        [math.log(sum(joint[LABELS[i], z] / joint[:, z].sum() * theta[i, z] for z in range(4))) for i in range(30)]
    )
    assert leep(theta, LABELS) == pytest.approx(expected, abs=1e-12)
    hard = theta.argmax(1)
    entropy = sum(
        -np.sum((hard == z) & (y == LABELS)) / 30 * math.log(np.sum((hard == z) & (y == LABELS)) / np.sum(hard == z))
        for z in range(4) for y in range(3) if np.any((hard == z) & (y == LABELS))
    )  # fmt: skip
    assert nce(hard, LABELS) == pytest.approx(-entropy, abs=1e-12)
    assert nce(LABELS, LABELS) == 0
    assert nce(np.zeros(30), LABELS) == pytest.approx(-math.log(3))


@pytest.mark.parametrize("width", [6, 50])
def test_h_score_by_its_definition_and_not_fooled_by_width(width: int) -> None:
    from sklearn.covariance import LedoitWolf

    features = rows(width)
    shrunk = LedoitWolf().fit(features)
    means = np.stack([features[c == LABELS].mean(0) for c in range(3)]) - features.mean(0)
    expected = np.trace(np.linalg.inv(shrunk.covariance_) @ (means.T @ means / 3)) * (1 - shrunk.shrinkage_)
    assert h_score(features, LABELS) == pytest.approx(expected, abs=1e-9)
    assert h_score(rows(60, 0.0), LABELS) < 1.9  # where the score without shrinkage is 2, whatever the features


def test_purity_by_loops() -> None:
    features = rows(5, 3.0)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    shares = []
    for i in range(30):
        order = [j for j in np.argsort(-unit @ unit[i]) if j != i][:4]
        shares.append(np.mean(LABELS[order] == LABELS[i]))
    assert neighbour_purity(features, LABELS, 4) == pytest.approx(np.mean(shares))


def test_cka_by_both_roads() -> None:
    x, y = rows(5), rows(7)
    assert linear_cka(x, 3 * x @ np.linalg.qr(RANDOM.normal(size=(5, 5)))[0]) == pytest.approx(1)
    wide = np.hstack([y, np.zeros((30, 40))])  # by products of rows
    assert linear_cka(x, wide) == pytest.approx(linear_cka(x, y), abs=1e-12)
    assert 0 < linear_cka(x, y) < 1
    assert linear_cka(x, np.ones((30, 1))) == 0


def test_distances_of_domains() -> None:
    near, far = RANDOM.normal(size=(80, 4)), RANDOM.normal(size=(60, 4)) + 3
    squares = ((np.vstack([near, far])[:, None] - np.vstack([near, far])[None]) ** 2).sum(-1)
    kernel = np.exp(-squares / np.percentile(squares[~np.eye(140, dtype=bool)], 50, method="lower"))
    expected = (
        (kernel[:80, :80].sum() - 80) / 80 / 79 + (kernel[80:, 80:].sum() - 60) / 60 / 59 - 2 * kernel[:80, 80:].mean()
    )
    assert mmd(near, far) == pytest.approx(expected, abs=1e-6)
    assert abs(mmd(near, RANDOM.normal(size=(80, 4)))) < 0.05 < mmd(near, far)
    assert proxy_a_distance(near, far) > 1.8
    assert proxy_a_distance(near, RANDOM.normal(size=(60, 4))) < 0.6
    assert proxy_a_distance(near, far) == proxy_a_distance(near, far)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: logme(rows(3), LABELS[:-1]), r"labels are \[29\]; there must be one for each of the 30 rows"),
        (lambda: logme(rows(3), np.zeros(30)), "labels hold 1 class"),
        (lambda: h_score(np.full((30, 2), np.nan), LABELS), "row 0 of features contains NaN"),
        (lambda: leep(rows(3), LABELS), "softmax the logits first"),
        (lambda: nce(LABELS[:5], LABELS), r"source_labels are \[5\]"),
        (lambda: neighbour_purity(rows(3), LABELS, 30), r"neighbours=30; it must be from 1 to 29"),
        (lambda: linear_cka(rows(3), rows(3, count=20)), "first has 30 rows and second 20"),
        (lambda: mmd(rows(3), rows(4)), r"source is \[30, 3\] and target \[30, 4\]"),
        (lambda: proxy_a_distance(rows(3), rows(3), folds=40), "folds=40 with 30 source and 30 target rows"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=words):
        call()


def test_logme_ranks_representations_of_real_objects(shared_data: Path) -> None:
    """Rank correlation with a linear probe over representations of ten kinds of objects."""
    from sklearn.linear_model import LogisticRegression

    file = shared_data / "transfer" / "office_caltech10" / "mobilenetv2_1280.npz"
    if not file.exists():
        pytest.skip("needs the features of Office-Caltech-10")
    held = np.load(file)
    name = next(key for key in held.files if key.startswith("amazon") and not key.endswith("_y"))
    features, labels = held[name].astype(np.float64), held[name.replace("_X", "_y")]
    order = np.random.default_rng(1).permutation(len(features))
    train, test = order[:200], order[200:]
    mixed = np.random.default_rng(2).normal(size=(1280, 64))
    kinds = [features, features[:, :64], features[:, :16], features @ mixed, np.sign(features @ mixed), features[:, :4],
             features @ mixed[:, :2], np.random.default_rng(3).normal(size=features.shape)]  # fmt: skip
    scores, probes = [], []
    for kind in kinds:
        scaled = (kind - kind[train].mean(0)) / (kind[train].std(0) + 1e-9)
        scores.append(logme(scaled[train], labels[train]))
        probes.append(
            LogisticRegression(C=0.1, max_iter=500).fit(scaled[train], labels[train]).score(scaled[test], labels[test])
        )
    assert kendalltau(scores, probes)[0] > 0.7

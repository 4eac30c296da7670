"""Slow references in plain numpy: one episode, loops, the formula as it is written, float64.

Each takes ``support [S, D], labels [S] (-1 is padding), query [Q, D], way`` and returns logits ``[Q, way]``.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from references.shared import Array, Labels, known, softmax, unit


def scatter(support: Array, labels: Labels, per_class: bool = False) -> float:
    """Mean square distance of the support from its mean; times the mean number of shots."""
    rows, classes = known(support, labels)
    square = ((rows - rows.mean(0)) ** 2).sum() / (len(rows) - 1)
    return float(square * len(rows) / len(set(classes.tolist())) if per_class else square)


def prototypes(support: Array, labels: Labels, query: Array, way: int) -> Array:
    """Squared Euclidean distance to each class mean, negated."""
    rows, classes = known(support, labels)
    logits = np.full((len(query), way), -np.inf)
    for n in set(classes.tolist()):
        mean = rows[classes == n].mean(0)
        for q in range(len(query)):
            logits[q, n] = -((query[q] - mean) ** 2).sum()
    return logits


def nearest(
    support: Array,
    labels: Labels,
    query: Array,
    way: int,
    k: int = 1,
    distance: str = "euclidean",
    weights: str = "uniform",
) -> Array:
    """Votes of the k nearest rows, and a share of a vote by the distance of the class."""
    rows, classes = known(support, labels)
    logits = np.full((len(query), way), -np.inf)
    present = sorted(set(classes.tolist()))
    for q in range(len(query)):
        if distance == "cosine":
            far = 1 - unit(rows) @ unit(query[q])
        else:
            far = np.linalg.norm(rows - query[q], axis=1)
        of_class = {n: far[classes == n].min() for n in present}
        if k == 1:
            for n in present:
                logits[q, n] = -of_class[n]
            continue
        votes = dict.fromkeys(present, 0.0)
        for s in np.argsort(far)[:k]:
            votes[int(classes[s])] += 1.0 if weights == "uniform" else far.min() / far[s]
        usual = np.mean(list(of_class.values()))
        share = 0.5 if weights == "uniform" else 1e-6
        for n in present:
            logits[q, n] = np.log(votes[n] + share / (1 + of_class[n] / usual))
    return logits


def ridge(
    support: Array,
    labels: Labels,
    query: Array,
    way: int,
    alpha: float = 1.0,
    scale: float = 1.0,
    fit_intercept: bool = True,
) -> Array:
    """Normal equations, one class at a time, the intercept as a feature that is not penalised."""
    rows, classes = known(support, labels)
    penalty = alpha * np.eye(rows.shape[1] + 1)
    penalty[-1, -1] = 0 if fit_intercept else 1
    last = 1.0 if fit_intercept else 0.0
    rows = np.hstack([rows, np.full((len(rows), 1), last)])
    asked = np.hstack([query, np.full((len(query), 1), last)])
    logits = np.full((len(query), way), -np.inf)
    for n in set(classes.tolist()):
        weight = np.linalg.solve(rows.T @ rows + penalty, rows.T @ (classes == n).astype(float))
        logits[:, n] = scale * asked @ weight
    return logits


def ridge_beside_means(support: Array, labels: Labels, query: Array, way: int, before: float = 0.1) -> Array:
    """Every row left out in turn, for the penalty of all, and class means of the others."""
    rows, classes = known(support, labels)
    present = sorted(set(classes.tolist()))
    penalty = scatter(support, labels, per_class=True)
    sharp = len(rows) / (len(rows) + len(present)) / scatter(support, labels)

    def both(kept: Array, asked: Array) -> tuple[Array, Array]:
        by_ridge = ridge(rows[kept], classes[kept], asked, way, penalty)[:, present]
        return by_ridge, sharp * prototypes(rows[kept], classes[kept], asked, way)[:, present]

    seen = []
    for s in range(len(rows)):
        kept = np.arange(len(rows)) != s
        if (classes[kept] == classes[s]).any():
            seen.append((*both(kept, rows[s][None]), present.index(int(classes[s]))))

    def loss(weights: Array) -> float:
        said = sum(-np.log(softmax(10 * (weights[0] * a[0] + weights[1] * b[0]))[own]) for a, b, own in seen)
        return float(said + 5 * ((weights - [1.0, before]) ** 2).sum())

    weights = np.maximum(minimize(loss, [1.0, before], tol=1e-13).x, 0)
    by_ridge, by_means = both(np.full(len(rows), True), query)
    mean = rows.mean(0)
    away = ((query - mean) ** 2).sum(1, keepdims=True)  # which is left out
    logits = np.full((len(query), way), -np.inf)
    logits[:, present] = weights[0] * by_ridge + weights[1] * (by_means + sharp * away)
    return logits


def logistic(support: Array, labels: Labels, query: Array, way: int, C: float = 1.0) -> Array:
    """Newton's method on all weights at once, with the full Hessian, until the gradient vanishes."""
    rows, classes = known(support, labels)
    present = sorted(set(classes.tolist()))
    ways, count = len(present), len(rows)
    C = C / 2 if ways == 2 else C
    mean = rows.mean(0)
    basis = np.linalg.svd(rows - mean, full_matrices=False)[2]  # W lies in the span of the rows
    features = np.hstack([(rows - mean) @ basis.T, np.ones((count, 1))])  # [S, R + 1]
    target = np.array([[float(c == n) for n in present] for c in classes])  # [S, ways]
    penalty = np.ones((ways, features.shape[1]))
    penalty[:, -1] = 0
    weight = np.zeros((ways, features.shape[1]))

    def look(weight: Array) -> tuple[float, Array]:
        scores = features @ weight.T
        scores = scores - scores.max(1, keepdims=True)
        p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        return float((penalty * weight**2).sum() / 2 - C * (target * log_p).sum()), p

    loss, p = look(weight)
    for _ in range(100):
        gradient = penalty * weight + C * (p - target).T @ features
        hessian = np.diag(penalty.ravel()).reshape(*weight.shape, *weight.shape)
        for s in range(count):
            curvature = np.diag(p[s]) - np.outer(p[s], p[s])
            hessian += C * np.einsum("nm,i,j->nimj", curvature, features[s], features[s])
        hessian[:, -1, :, -1] += 1.0  # a constant added to every intercept changes nothing: keep their sum
        step = np.linalg.solve(hessian.reshape(weight.size, -1), -gradient.ravel()).reshape(weight.shape)
        length = 1.0
        while length > 1e-8 and look(weight + length * step)[0] > loss + 1e-11 * max(1.0, C):
            length /= 2
        weight = weight + length * step
        loss, p = look(weight)
        if np.abs(features @ step.T).max() < 1e-8:
            break
    else:
        raise AssertionError("the reference did not converge")
    asked = np.hstack([(query - mean) @ basis.T, np.ones((len(query), 1))])
    logits = np.full((len(query), way), -np.inf)
    scores = asked @ weight.T
    logits[:, present] = scores - weight[:, -1].mean()
    return logits

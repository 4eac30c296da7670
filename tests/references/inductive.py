"""Slow references of inductive learners in plain numpy: one episode, float64, the formula as it is written.

Each takes ``support [S, D], labels [S] (-1 is padding), query [Q, D], way`` and returns logits ``[Q, way]``.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, root

from references.shared import Array, Labels, fill, known, means, softmax, unit
from references.transductive import differences, scores
from references.transductive import rescaled as rescaled


def matching(support: Array, labels: Labels, query: Array, way: int, scale: float = 10.0) -> Array:
    rows, classes = known(support, labels)
    logits = np.full((len(query), way), -np.inf)
    for q in range(len(query)):
        for n in sorted(set(classes.tolist())):
            votes = [np.exp(scale * unit(query[q]) @ unit(x)) for x in rows[classes == n]]
            logits[q, n] = np.log(sum(votes))
    return logits


def matching_beside_means(
    support: Array, labels: Labels, query: Array, way: int, scale: float = 5.0, before: float = 0.5
) -> Array:
    """Every row left out in turn; as often as there are others of its class, they vote for it."""
    rows, classes = known(support, labels)
    names = sorted(set(classes.tolist()))
    size = float(((rows - rows.mean(0)) ** 2).sum() / max(1, len(rows) - 1)) or 1.0
    sharp = 10 * len(rows) / (len(rows) + len(names)) / size

    def both(kept: Array, asked: Array) -> tuple[Array, Array]:
        votes = matching(rows[kept], classes[kept], asked, way, scale)[:, names]
        return votes, -sharp * distances(means(rows[kept], classes[kept], way), asked, way)[:, names]

    seen = []
    for s in range(len(rows)):
        kept, shots = np.arange(len(rows)) != s, (classes == classes[s]).sum()
        if shots > 1:
            votes, by_means = (part[0] for part in both(kept, rows[s][None]))
            own = names.index(int(classes[s]))
            votes[own] += np.log(shots / (shots - 1))
            seen.append((votes, by_means, own))
    weights = product_of_experts(seen, [1.0, before])
    votes, by_means = both(np.full(len(rows), True), query)
    logits = np.full((len(query), way), -np.inf)
    logits[:, names] = weights[0] * votes + weights[1] * by_means
    return logits


def product_of_experts(seen: list[tuple[Array, Array, int]], before: list[float]) -> Array:
    """Weights of two experts, of what they say of rows and which class that is."""

    def slope(weights: Array) -> Array:
        total = 10 * (weights - before)
        for *experts, own in seen:
            chances = softmax(weights @ np.array(experts))
            total = total + np.array(experts) @ (chances - np.eye(len(chances))[own])
        return total

    return np.maximum(root(slope, before, tol=1e-13).x, 0)  # a convex loss has no other stationary point


def distances(prototypes: dict[int, Array], query: Array, way: int) -> Array:
    """Squared, to class means."""
    return fill({n: ((query - mean) ** 2).sum(1) for n, mean in prototypes.items()}, way, len(query))


def scaled_prototypes(
    support: Array, labels: Labels, query: Array, way: int, scale: float = 10.0, centred: float = 0.3
) -> Array:
    rows, classes = known(support, labels)
    centre, units = rows.mean(0), np.array([unit(x) for x in rows])
    square = ((units - units.mean(0)) ** 2).sum() / (len(rows) - 1)
    found = {}
    for n in set(classes.tolist()):
        around = unit(np.mean([unit(x - centre) for x in rows[classes == n]], axis=0))
        mean = unit(units[classes == n].mean(0))
        found[n] = np.array([scale * (unit(q) @ mean + centred * square * unit(q - centre) @ around) for q in query])
    return fill(found, way, len(query))


def fine_tune(
    support: Array,
    labels: Labels,
    query: Array,
    way: int,
    head: str = "linear",
    steps: int = 100,
    rate: float = 0.01,
    optimiser: str = "sgd",
    decay: float = 1e-3,
    scale: float = 10.0,
) -> Array:
    rows, classes = known(support, labels)
    prototypes = means(rows, classes, way)
    names = list(prototypes)
    own = np.array([names.index(int(n)) for n in classes])
    linear = head == "linear"
    width = rows.shape[1]
    weight = np.zeros((len(names), width + 1)) if linear else np.array([prototypes[n] for n in names])

    def answer(at: Array, asked: Array) -> Array:
        return asked @ at[:, :width].T + at[:, width] if linear else scores(head, scale, asked, at)

    def loss(at: Array) -> float:
        shares = [softmax(row) for row in answer(at, rows)]
        return float(np.mean([-np.log(p[n]) for p, n in zip(shares, own, strict=True)]))

    velocity, first, second = (np.zeros_like(weight) for _ in range(3))
    for step in range(1, steps + 1):
        gradient = differences(loss, weight)
        gradient[:, :width] += decay * weight[:, :width]
        if optimiser == "sgd":
            velocity = 0.9 * velocity + gradient
            weight = weight - rate * velocity
        else:
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            weight = weight - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    found = answer(weight, query)
    return fill({n: found[:, i] for i, n in enumerate(names)}, way, len(query))


def fine_tune_beside_means(
    support: Array, labels: Labels, query: Array, way: int, steps: int, rate: float, before: float = 0.1
) -> Array:
    """Folds of rows held out, a third of each class at a time, in the order of what they hold."""
    rows, classes = known(support, labels)
    value = rows @ np.linspace(1, 2, rows.shape[1])
    fold = np.array([sum(value[classes == c] < v) % 3 for v, c in zip(value, classes, strict=True)])
    size = float(((rows - rows.mean(0)) ** 2).sum() / max(1, len(rows) - 1))
    sharp = 10 * len(rows) / (len(rows) + len(set(classes.tolist()))) / size

    def both(kept: Array, asked: Array) -> tuple[Array, Array]:
        tuned = fine_tune(rows[kept], classes[kept], asked, way, steps=steps, rate=rate)
        return 0.5 * tuned, -sharp * distances(means(rows[kept], classes[kept], way), asked, way)

    seen = []
    for number in range(3):
        held = fold == number
        if held.any() and not held.all():
            remain = sorted(set(classes[~held].tolist()))
            tuned, by_means = both(~held, rows[held])
            for s, n in enumerate(classes[held]):
                if n in remain:
                    seen.append((tuned[s, remain], by_means[s, remain], remain.index(int(n))))
    weights = product_of_experts(seen, [1.0, before])
    tuned, by_means = both(np.full(len(rows), True), query)
    present = sorted(set(classes.tolist()))
    logits = np.full((len(query), way), -np.inf)
    far = sharp * (query**2).sum(1, keepdims=True)  # which is left out
    logits[:, present] = weights[0] * tuned[:, present] + weights[1] * (by_means[:, present] + far)
    return logits


def baseline_plus_plus(
    support: Array, labels: Labels, query: Array, way: int, steps: int = 100, rate: float = 0.01, scale: float = 10.0
) -> Array:
    rows, classes = known(support, labels)
    rows = np.array([unit(x) for x in rows])
    prototypes = means(rows, classes, way)
    names = list(prototypes)
    own = np.array([names.index(int(n)) for n in classes])
    weight = np.array([unit(prototypes[n]) for n in names])

    def loss(at: Array) -> float:
        shares = [softmax(row) for row in scores("cosine", scale, rows, at)]
        return float(np.mean([-np.log(p[n]) for p, n in zip(shares, own, strict=True)]))

    velocity = np.zeros_like(weight)
    for _ in range(steps):
        velocity = 0.9 * velocity + differences(loss, weight) + 1e-3 * weight
        weight = weight - rate * velocity
    found = scores("cosine", scale, query, weight)
    return fill({n: found[:, i] for i, n in enumerate(names)}, way, len(query))


def lda(
    support: Array,
    labels: Labels,
    query: Array,
    way: int,
    shrinkage: float | str = "ledoit-wolf",
    prior: str = "uniform",
) -> Array:
    rows, classes = known(support, labels)
    centres = means(rows, classes, way)
    residual = np.array([x - centres[int(n)] for x, n in zip(rows, classes, strict=True)])
    count, width = residual.shape
    covariance = residual.T @ residual / count
    level = np.trace(covariance) / width
    if level < 1e-12:
        shrunk = np.eye(width)
    else:
        if shrinkage in ("ledoit-wolf", "auto"):
            error = np.mean([((np.outer(x, x) - covariance) ** 2).sum() for x in residual]) / count
            share = min(error / ((covariance - level * np.eye(width)) ** 2).sum(), 1.0)
            if shrinkage == "auto":
                share = max(share, 4 * width / (4 * width + count - len(centres)))
        elif shrinkage == "oas":
            mean = (covariance**2).mean()
            share = min((mean + level**2) / ((count + 1) * (mean - level**2 / width)), 1.0)
        elif shrinkage != "auto":
            share = float(shrinkage)
        shrunk = (1 - share) * covariance + share * level * np.eye(width)
    inverse = np.linalg.inv(shrunk)
    columns = {}
    for n, mean_n in centres.items():
        bias = -0.5 * mean_n @ inverse @ mean_n
        if prior == "empirical":
            bias += np.log((classes == n).mean())
        columns[n] = query @ inverse @ mean_n + bias
    return fill(columns, way, len(query))


def subspace(support: Array, labels: Labels, query: Array, way: int, dimensions: int = 4) -> Array:
    rows, classes = known(support, labels)
    found = {n: squares_of_subspace(rows[classes == n], query, dimensions) for n in means(rows, classes, way)}
    return fill({n: along - far for n, (far, along) in found.items()}, way, len(query))


def subspace_validated(support: Array, labels: Labels, query: Array, way: int, dimensions: int = 4) -> Array:
    rows, classes = known(support, labels)
    names = list(means(rows, classes, way))
    value = rows @ np.linspace(1, 2, rows.shape[1])
    fold = np.array([sum(value[classes == c] < v) % 5 for v, c in zip(value, classes, strict=True)])
    size = ((rows - rows.mean(0)) ** 2).sum() / (len(rows) - 1)
    sharp = 10 * len(rows) / (len(rows) + len(names)) / size
    seen = []
    for s, row in enumerate(rows):
        kept = {n: rows[(classes == n) & (fold != fold[s])] for n in names}
        if len(kept[int(classes[s])]) > 1:
            left = [n for n in names if len(kept[n])]
            both = np.array([squares_of_subspace(kept[n], row[None], dimensions) for n in left])[:, :, 0]
            seen.append((-sharp * both[:, 0], sharp * both[:, 1], left.index(int(classes[s]))))

    def loss(weights: Array) -> float:
        said = sum(-np.log(softmax(weights[0] * a + weights[1] * b)[own]) for a, b, own in seen)
        return float(said + 5 * ((weights - [1.0, 0.4]) ** 2).sum())

    first, second = np.maximum(minimize(loss, [1.0, 0.4], tol=1e-13).x, 0)
    share = min(second / first, 1.0)
    found = {n: squares_of_subspace(rows[classes == n], query, dimensions) for n in names}
    return fill({n: share * along - far for n, (far, along) in found.items()}, way, len(query))


def squares_of_subspace(own: Array, query: Array, dimensions: int) -> tuple[Array, Array]:
    """Squared distances to the mean of some rows, and what lies along their directions."""
    away = query - own.mean(0)
    kept = min(dimensions, len(own) - 1, max(1, own.shape[1] - 1))
    directions = np.linalg.svd(own - own.mean(0))[2][:kept]  # [R, D]
    return (away**2).sum(1), ((away @ directions.T) ** 2).sum(1)


def mahalanobis(support: Array, labels: Labels, query: Array, way: int, regularisation: float = 1.0) -> Array:
    rows, classes = known(support, labels)
    width = rows.shape[1]
    everything = np.cov(rows.T, ddof=1).reshape(width, width) if len(rows) > 1 else np.zeros((width, width))
    columns = {}
    for n, centre in means(rows, classes, way).items():
        own = rows[classes == n]
        share = len(own) / (len(own) + 1)
        covariance = np.cov(own.T, ddof=1).reshape(width, width) if len(own) > 1 else np.zeros((width, width))
        inverse = np.linalg.inv(share * covariance + (1 - share) * everything + regularisation * np.eye(width))
        columns[n] = np.array([-0.5 * (q - centre) @ inverse @ (q - centre) for q in query])
    return fill(columns, way, len(query))


def svm(support: Array, labels: Labels, query: Array, way: int, C: float = 0.1) -> Array:
    rows, classes = known(support, labels)
    alpha = crammer_singer(rows, classes, C)
    names = sorted(set(classes.tolist()))
    return fill({n: query @ (alpha[:, i] @ rows) for i, n in enumerate(names)}, way, len(query))


def svm_beside_means(support: Array, labels: Labels, query: Array, way: int) -> Array:
    """Of rescaled rows: C is 1, and their mean square."""
    rows, classes = known(support, labels)
    names = sorted(set(classes.tolist()))
    alpha, count, ways = crammer_singer(rows, classes, 1.0), len(rows), len(names)
    size = float((rows**2).sum() / max(1, count - 1))
    size = size if size > 0 else 1.0
    sharp = 10 * count / (count + ways) / size

    def by_means(row: Array, without: int = -1) -> Array:
        of_class = [[x for s, x in enumerate(rows) if classes[s] == n and s != without] for n in names]
        return np.array([-sharp * ((row - np.mean(c, axis=0)) ** 2).sum() if c else 0.0 for c in of_class])

    level = float((rows**2).sum() / count)
    hull = np.linalg.inv(rows @ rows.T + level * (0.3 * np.eye(count) + 100)) if level else np.eye(count)
    seen = []
    for s in range(count):
        if (classes == classes[s]).sum() > 1:
            apart = 1 / hull[s, s] - 0.3 * level
            scores = 3 * (alpha.T @ rows @ rows[s] - apart * alpha[s])
            seen.append((scores, by_means(rows[s], s), names.index(int(classes[s]))))

    def loss(weights: Array) -> float:
        said = sum(-np.log(softmax(weights[0] * a + weights[1] * b)[own]) for a, b, own in seen)
        return float(said + 5 * ((weights - 1) ** 2).sum())

    weights = np.maximum(minimize(loss, [1.0, 1.0], tol=1e-13).x, 0)
    logits = np.full((len(query), way), -np.inf)
    for q, row in enumerate(query):
        logits[q, names] = weights[0] * 3 * (alpha.T @ rows @ row) + weights[1] * (by_means(row) + sharp * row @ row)
    return logits


def crammer_singer(rows: Array, classes: Labels, C: float) -> Array:
    """Keerthi's dual coordinate descent: one example's variables at a time, solved exactly."""
    names = sorted(set(classes.tolist()))
    own = np.array([names.index(int(n)) for n in classes])
    alpha = np.zeros((len(rows), len(names)))
    weight = np.zeros((len(names), rows.shape[1]))
    for _ in range(600):
        for s in range(len(rows)):
            square = float(rows[s] @ rows[s])
            limit = np.where(np.arange(len(names)) == own[s], C, 0.0)
            slope = weight @ rows[s] + (np.arange(len(names)) != own[s]) - square * alpha[s]
            # alpha = min(limit, (level - slope) / square) with the level at which they sum to zero.
            low, high = slope.min() - square * C - 1, slope.max() + square * C + 1
            for _ in range(60):
                level = (low + high) / 2
                if np.minimum(limit, (level - slope) / square).sum() < 0:
                    low = level
                else:
                    high = level
            new = np.minimum(limit, (level - slope) / square)
            weight += np.outer(new - alpha[s], rows[s])
            alpha[s] = new
    return alpha


def feat(support: Array, labels: Labels, query: Array, way: int, maps: dict[str, Array], scale: float = 1.0) -> Array:
    rows, classes = known(support, labels)
    prototypes = means(rows, classes, way)
    found = {}
    for n, own in prototypes.items():
        agreement = [(maps["query"] @ own) @ (maps["key"] @ other) for other in prototypes.values()]
        shares = softmax(np.array(agreement) / np.sqrt(len(own)))
        mixed = sum(share * (maps["value"] @ other) for share, other in zip(shares, prototypes.values(), strict=True))
        changed = own + maps["out"] @ mixed
        changed = changed / np.linalg.norm(changed) * np.linalg.norm(own)
        found[n] = np.array([-scale * (((q - changed) ** 2).sum() - (q**2).sum()) for q in query])
    return fill(found, way, len(query))


def relation(support: Array, labels: Labels, query: Array, way: int, maps: list[Array], scale: float = 10.0) -> Array:
    rows, classes = known(support, labels)
    inner, inner_bias, outer, outer_bias = maps
    found = {}
    for n, mean in means(rows, classes, way).items():
        scores = []
        for q in query:
            hidden = np.tanh(inner @ np.concatenate([q, mean, q * mean, abs(q - mean)]) + inner_bias)
            scores.append(scale * float((outer @ hidden + outer_bias)[0]))
        found[n] = np.array(scores)
    return fill(found, way, len(query))

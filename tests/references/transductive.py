"""Slow references of transductive learners in plain numpy: one episode, float64, the formula as it is written.

Each takes ``support [S, D], labels [S] (-1 is padding), query [Q, D], way`` and returns logits ``[Q, way]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize

from references.shared import Array, Labels, fill, known, means, softmax, unit


def rescaled(
    method: Callable[..., Array], support: Array, labels: Labels, query: Array, way: int, size: bool = True, **more: Any
) -> Array:
    """What a method answers on rows around the support's mean, divided by their root mean square distance from it."""
    rows = known(support, labels)[0]
    centre = rows.mean(0)
    root = np.sqrt(((rows - centre) ** 2).sum() / max(len(rows) - 1, 1)) if size else 1.0
    if more.get("unlabelled") is not None:
        more["unlabelled"] = (more["unlabelled"] - centre) / root
    return method((support - centre) / root, labels, (query - centre) / root, way, **more)


def rectified(rows: Array, classes: Labels, query: Array, way: int, sharpness: float) -> tuple[dict[int, Array], Array]:
    shifted = query + rows.mean(0) - query.mean(0)
    first = means(rows, classes, way)
    joined = [max(first, key=lambda n: float(unit(q) @ unit(first[n]))) for q in shifted]
    better = {}
    for n, prototype in first.items():
        members = [*rows[classes == n], *(q for q, own in zip(shifted, joined, strict=True) if own == n)]
        weights = np.array([np.exp(sharpness * unit(x) @ unit(prototype)) for x in members])
        better[n] = (weights[:, None] * np.array(members)).sum(0) / weights.sum()
    return better, shifted


def bd_cspn(
    support: Array, labels: Labels, query: Array, way: int, sharpness: float = 10.0, scale: float = 10.0
) -> Array:
    rows, classes = known(support, labels)
    prototypes, shifted = rectified(rows, classes, query, way, sharpness)
    columns = {n: np.array([scale * unit(q) @ unit(p) for q in shifted]) for n, p in prototypes.items()}
    return fill(columns, way, len(query))


def laplacian_shot(
    support: Array,
    labels: Labels,
    query: Array,
    way: int,
    neighbours: int = 2,
    regularisation: float = 0.3,
    steps: int = 20,
    rectify: bool = False,
) -> Array:
    rows, classes = known(support, labels)
    prototypes = rectified(rows, classes, query, way, 10.0)[0] if rectify else means(rows, classes, way)
    unary = fill({n: -((query - p) ** 2).sum(1) for n, p in prototypes.items()}, way, len(query))
    graph = np.zeros((len(query), len(query)))
    for i in range(len(query)):
        far = ((query - query[i]) ** 2).sum(1)
        far[i] = np.inf
        graph[i, np.argsort(far)[: min(neighbours, len(query) - 1)]] = 1
    logits = unary
    for _ in range(steps):
        shares = np.array([softmax(row) for row in logits])
        logits = unary + regularisation * graph @ shares
    return logits


def label_propagation(
    support: Array,
    labels: Labels,
    query: Array,
    way: int,
    neighbours: int = 10,
    power: float = 1.0,
    spread: float = 0.8,
    centred: bool = True,
    believed: float = 1.0,
    unlabelled: Array | None = None,
) -> Array:
    rows, classes = known(support, labels)
    more = np.zeros((0, rows.shape[1])) if unlabelled is None else unlabelled
    everything = np.concatenate([rows, more, query])
    nodes = np.array([unit(x) for x in everything - (everything.mean(0) if centred else 0)])
    graph = np.zeros((len(nodes), len(nodes)))
    for i in range(len(nodes)):
        cosine = nodes @ nodes[i]
        cosine[i] = -np.inf
        for j in np.argsort(-cosine)[:neighbours]:
            if j != i:
                graph[i, j] = max(cosine[j], 0) ** power
    graph = graph + graph.T
    degree = graph.sum(1)
    normal = np.array([
        [graph[i, j] / np.sqrt(degree[i] * degree[j]) if graph[i, j] else 0 for j in range(len(nodes))]
        for i in range(len(nodes))
    ])  # fmt: skip
    present = [n for n in range(way) if (classes == n).any()]
    labelled = np.zeros((len(nodes), way))
    labelled[np.arange(len(rows)), classes] = 1

    def spread_from(source: Array) -> Array:
        total, power_of = np.zeros((len(nodes), way)), source
        for _ in range(400):  # the series Σ spread^t A^t Y, not the solve
            total = total + power_of
            power_of = spread * normal @ power_of
        total = total[:, present]
        if believed:
            total = total + 0.01 * total.mean(1, keepdims=True)
        return np.log(np.maximum(total, np.finfo(np.float64).tiny))

    own, count = nodes[: len(rows)], np.array([(classes == n).sum() for n in present])
    size = ((own - own.mean(0)) ** 2).sum() / max(len(own) - 1, 1)

    def from_means(row: Array, without: int | None = None) -> Array:
        kept = np.arange(len(rows)) != without
        centres = np.array([own[kept & (classes == n)].mean(0) for n in present])
        return -10 * count.mean() / (count.mean() + 1) * ((row - centres) ** 2).sum(1) / size

    by_graph = spread_from(labelled)
    by_means = np.array([from_means(row) for row in nodes])
    weights = np.array([1.0, 0.0])
    if believed:
        held_out = []
        for s in range(len(rows)):
            place = present.index(classes[s])
            if count[place] > 1:
                fewer = labelled.copy()
                fewer[s] = 0
                fewer[:, classes[s]] *= count[place] / (count[place] - 1)
                held_out.append((spread_from(fewer)[s], from_means(own[s], s), place))

        def loss(weights: Array) -> float:
            total = 5 * ((weights - [1.0, believed]) ** 2).sum()
            for graph_says, means_say, place in held_out:
                total -= np.log(softmax(weights[0] * graph_says + weights[1] * means_say)[place])
            return float(total)

        weights = np.maximum(minimize(loss, [1.0, believed], tol=1e-13).x, 0)
    logits = np.full((len(query), way), -np.inf)
    logits[:, present] = (weights[0] * by_graph + weights[1] * by_means)[-len(query) :]
    return logits


def soft_kmeans(
    support: Array,
    labels: Labels,
    query: Array,
    way: int,
    steps: int = 1,
    scale: float = 1.0,
    queries: bool = True,
    distractors: bool = False,
    radius: float = 2.0,
    unlabelled: Array | None = None,
    limit: float = np.inf,
) -> Array:
    rows, classes = known(support, labels)
    prototypes = means(rows, classes, way)
    free = [*(unlabelled if unlabelled is not None else []), *(query if queries else [])]
    centre = np.mean([*prototypes.values()], axis=0)
    names = list(prototypes)
    for _ in range(steps):
        shares = []
        for row in free:
            logits = [-scale * ((row - prototypes[n]) ** 2).sum() for n in names]
            if distractors:
                logits.append(-scale * ((row - centre) ** 2).sum() / radius**2 - 2 * np.log(radius))
            shares.append(softmax(np.array(logits)))
        moved = {}
        for place, n in enumerate(names):
            top, bottom = rows[classes == n].sum(0), float((classes == n).sum())
            mass = sum(share[place] for share in shares)
            weight = min(1.0, limit * bottom / mass) if free else 0.0
            for row, share in zip(free, shares, strict=True):
                top, bottom = top + weight * share[place] * row, bottom + weight * share[place]
            moved[n] = top / bottom
        prototypes = moved
    return fill({n: -scale * ((query - p) ** 2).sum(1) for n, p in prototypes.items()}, way, len(query))


def scores(metric: str, scale: float, rows: Array, weight: Array) -> Array:
    if metric == "cosine":
        return np.array([[scale * unit(x) @ unit(w) for w in weight] for x in rows])
    far = np.array([[((x - w) ** 2).sum() for w in weight] for x in rows])
    return -scale / 2 * far if metric == "squared" else -scale * np.sqrt(far)


def entropy(p: Array, alpha: float | None) -> float:
    if alpha is None:
        return float(-(p * np.log(p + 1e-12)).sum())
    return float((1 - (p**alpha).sum()) / (alpha - 1))


def tuned(
    support: Array,
    labels: Labels,
    query: Array,
    way: int,
    *,
    steps: int,
    rate: float,
    scale: float,
    metric: str,
    weights: tuple[float, float, float],
    alpha: float | None,
) -> Array:
    """Adam on numerical derivatives of the objective."""
    rows, classes = known(support, labels)
    prototypes = means(rows, classes, way)
    names = list(prototypes)
    own = np.array([names.index(int(n)) for n in classes])
    a, b, c = weights

    def objective(weight: Array) -> float:
        supported = [softmax(row) for row in scores(metric, scale, rows, weight)]
        loss = a * float(np.mean([-np.log(p[n]) for p, n in zip(supported, own, strict=True)]))
        asked = np.array([softmax(row) for row in scores(metric, scale, query, weight)])
        return loss - b * entropy(asked.mean(0), alpha) + c * float(np.mean([entropy(p, alpha) for p in asked]))

    weight = np.array([prototypes[n] for n in names])
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for step in range(1, steps + 1):
        gradient = differences(objective, weight)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        weight = weight - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    found = scores(metric, scale, query, weight)
    return fill({n: found[:, i] for i, n in enumerate(names)}, way, len(query))


def differences(function: Callable[[Array], float], at: Array, width: float = 1e-5) -> Array:
    """Central differences."""
    gradient = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        there = at.copy()
        there[place] += width
        ahead = function(there)
        there[place] -= 2 * width
        gradient[place] = (ahead - function(there)) / (2 * width)
    return gradient


def tim_adm(
    support: Array,
    labels: Labels,
    query: Array,
    way: int,
    steps: int = 150,
    scale: float = 15.0,
    cross_entropy: float = 0.1,
    marginal: float = 1.0,
    conditional: float = 0.1,
    momentum: float = 0.3,
) -> Array:
    rows, classes = known(support, labels)
    prototypes = means(rows, classes, way)
    names = list(prototypes)
    weight = np.array([prototypes[n] for n in names])
    c, beta, ratio = cross_entropy / (1 + conditional), marginal / (marginal + 1), len(rows) / len(query)
    for _ in range(steps):
        p_query = np.array([softmax(row) for row in scores("squared", scale, query, weight)])
        p_known = np.array([softmax(row) for row in scores("squared", scale, rows, weight)])
        sharp = p_query ** (1 + conditional)
        z = sharp / sharp.sum(0) ** beta
        z = z / z.sum(1, keepdims=True)
        moved = np.zeros_like(weight)
        for i, n in enumerate(names):
            top, bottom = np.zeros(rows.shape[1]), 0.0
            for s in range(len(rows)):
                label = float(classes[s] == n)
                top += c * (label * rows[s] + p_known[s, i] * (weight[i] - rows[s]))
                bottom += c * label
            for q in range(len(query)):
                top += ratio * (z[q, i] * query[q] + p_query[q, i] * (weight[i] - query[q]))
                bottom += ratio * z[q, i]
            moved[i] = top / bottom
        weight = weight + momentum * (moved - weight)
    found = scores("squared", scale, query, weight)
    return fill({n: found[:, i] for i, n in enumerate(names)}, way, len(query))


def pt_map(
    support: Array,
    labels: Labels,
    query: Array,
    way: int,
    steps: int = 10,
    rate: float = 0.4,
    sharpness: float = 10.0,
    power: float = 0.5,
    query_prior: str = "uniform",
    tightness: float = np.inf,
    believed: float = 0.0,
) -> Array:
    plain, classes = known(support, labels)

    def transform(values: Array) -> Array:
        values = np.array([unit(np.sign(x) * (np.abs(x) + 1e-6) ** power) for x in values])
        if len(values) == 1:
            return values
        return np.array([unit(x - values.mean(0)) for x in values])

    rows, asked = transform(plain), transform(query)
    names = sorted(set(classes.tolist()))
    share = 1 / (1 + 1 / tightness)

    def moved(kept: Labels) -> tuple[Array, Array]:
        """Class means after the last step, and what is added to the logits of a class, learned from some rows."""
        labelled = np.array([rows[kept & (classes == n)].sum(0) for n in names])
        shots = np.array([float((kept & (classes == n)).sum()) for n in names])
        weight = labelled / shots[:, None]
        for step in range(steps + 1):
            cost = np.array([[((x - w) ** 2).sum() for w in weight] for x in asked])
            table, added = np.exp(-sharpness * cost), np.zeros(len(names))
            plan = table / table.sum(1, keepdims=True)
            if query_prior == "uniform":
                for _ in range(20_000):  # scale the columns, then the rows
                    factor = np.exp(added) * len(asked) / len(names) / plan.sum(0)
                    before, added = added, share * np.log(factor)
                    plan = table * np.exp(added)
                    plan = plan / plan.sum(1, keepdims=True)
                    if np.abs(added - added.mean() - before + before.mean()).max() < 1e-13:
                        break
            if step < steps:
                centres = (labelled + plan.T @ asked) / (shots + plan.sum(0))[:, None]
                weight = weight + rate * (centres - weight)
        return weight, added

    def by_plan(row: Array, weight: Array, added: Array) -> Array:
        return np.log(softmax(added - sharpness * ((row - weight) ** 2).sum(1)))

    def by_means(row: Array, given: Array, kept: Labels) -> Array:
        """Of a row, from the means of some rows of those that are given."""
        centres = np.array([given[kept & (classes == n)].mean(0) for n in names])
        size = ((given - given.mean(0)) ** 2).sum() / max(len(given) - 1, 1)
        return -10 * (count / (count + 1)) * ((row - centres) ** 2).sum(1) / size

    everything = np.ones(len(rows), dtype=bool)
    count = len(rows) / len(names)
    found = moved(everything)
    logits = np.array([by_plan(q, *found) for q in asked])
    if believed:
        value = plain @ np.linspace(1, 2, plain.shape[1])
        rank = np.array([(value[classes == classes[s]] < value[s]).sum() for s in range(len(rows))])
        alone = np.array([(classes == classes[s]).sum() == 1 for s in range(len(rows))])
        held_out = []
        for fold in (0, 1):
            kept = (rank % 2 != fold) | alone
            moved_by_half = moved(kept)
            for s in np.flatnonzero(~kept):
                others = np.arange(len(rows)) != s
                place = names.index(classes[s])
                experts = (
                    by_plan(rows[s], *moved_by_half),
                    by_means(rows[s], rows, others),
                    by_means(plain[s], plain, others),
                )
                held_out.append((np.array(experts), place))

        def loss(weights: Array) -> float:
            total = 5 * ((weights - [1.0, believed, 0.0]) ** 2).sum()
            return float(total - sum(np.log(softmax(weights @ experts)[place]) for experts, place in held_out))

        weights = np.maximum(minimize(loss, [1.0, believed, 0.0], tol=1e-13).x, 0)
        second = np.array([by_means(q, rows, everything) for q in asked])
        third = np.array([by_means(q, plain, everything) for q in query])
        logits = weights[0] * logits + weights[1] * second + weights[2] * third
    return fill({n: logits[:, i] for i, n in enumerate(names)}, way, len(query))

"""Slow references of learners with class text: one episode, float64; gradients by autograd, optimisers by torch."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize

from references.shared import Array, Labels, softmax, unit


def zero_shot(x: Array, y: Labels, q: Array, t: Array) -> Array:
    return 100 * unit(q) @ unit(t).T


def mean_square(x: Array) -> float:
    """Of the distance from the mean."""
    return float(((x - x.mean(0)) ** 2).sum() / max(len(x) - 1, 1)) or 1.0


def deviation(logits: Array) -> float:
    return float(np.sqrt(((logits - logits.mean(1, keepdims=True)) ** 2).mean()))


def tip_adapter(
    x: Array, y: Labels, q: Array, t: Array, alpha: float | None = None, beta: float | None = None
) -> Array:
    raw, x, q, t = x, unit(x), unit(q), unit(t)
    beta = 2 / mean_square(x) if beta is None else beta

    def votes(rows: Array) -> Array:
        found = np.zeros((len(rows), len(t)))
        for i in range(len(rows)):
            for s in range(len(x)):
                found[i, y[s]] += math.exp(-beta * (1 - rows[i] @ x[s]))
        return found

    if alpha is not None:
        return 100 * q @ t.T + alpha * votes(q)
    shots = len(x) / len(t)
    alpha = 0.7 * shots / (shots + 2) * deviation(100 * x @ t.T) / deviation(votes(x))
    square = mean_square(x)
    value = raw @ np.linspace(1, 2, x.shape[1])  # what a row holds decides its fold
    rank = np.array([(value[y == n] < v).sum() for v, n in zip(value, y, strict=True)])

    def said(rows: Array, kept: Array) -> tuple[Array, Array]:
        """Votes, and distances to class means, by the rows that are kept."""
        classes = len(set(y[kept].tolist()))
        sharp = 10 * kept.sum() / (kept.sum() + classes) / square
        of_class = [x[kept & (y == n)] if (kept & (y == n)).any() else x for n in range(len(t))]
        far = [[-sharp * (((row - c.mean(0)) ** 2).sum() - 1) for c in of_class] for row in rows]
        near = [
            [sum(math.exp(-beta * (1 - row @ v)) for v in x[kept & (y == n)]) for n in range(len(t))] for row in rows
        ]
        return alpha * np.array(near), np.array(far)

    seen = []
    for s in range(len(x)):
        if (y == y[s]).sum() > 1:
            voted, far = said(x[s : s + 1], rank % 4 != rank[s] % 4)
            seen.append((100 * t @ x[s], voted[0], far[0], y[s]))

    def loss(w: Array) -> float:
        unlikely = sum(-np.log(softmax(w[0] * a + w[1] * b + w[2] * c)[own]) for a, b, c, own in seen)
        return float(unlikely + 5 * ((w - [1, 1, 0]) ** 2).sum())

    w = np.maximum(minimize(loss, [1.0, 1.0, 0.0], tol=1e-13).x, 0)
    voted, far = said(q, np.ones(len(x), bool))
    return w[0] * 100 * q @ t.T + w[1] * voted + w[2] * far


def likeliest_scale(x: Array, y: Labels, t: Array) -> float:
    """The factor on cosines under which words make the labels likeliest."""
    scales = [100 * 2 ** (-k / 2) for k in range(12)]
    return max(scales, key=lambda s: np.log(softmax(s * unit(x) @ unit(t).T)[np.arange(len(y)), y]).sum())


def beside_words(
    alone: Callable[..., Array], x: Array, y: Labels, q: Array, t: Array, words: float = 1.0, many: int = 1000,
    scale: float | None = 100.0,
) -> Array:  # fmt: skip
    """A method, cosines with words times a scale, and distances to class means, weighed by rows that were left out."""
    ways, square = len(t), mean_square(unit(x)) if len(x) else 1.0
    scale = likeliest_scale(x, y, t) if scale is None else scale

    def far(rows: Array, kept: Array) -> Array:
        of_class = [unit(x)[kept & (y == n)] for n in range(ways)]
        shots = kept.sum() / (kept.sum() + len(set(y[kept].tolist())))
        found = np.zeros((len(rows), ways))
        for i, row in enumerate(unit(rows)):
            for n, own in enumerate(of_class):
                mean = own.mean(0) if len(own) else unit(x).mean(0)
                found[i, n] = -10 * shots / square * ((row - mean) ** 2).sum()
        return found

    value = x @ np.linspace(1, 2, x.shape[1])
    rank = np.array([(value[y == n] < v).sum() for v, n in zip(value, y, strict=True)])
    single = np.array([(y == n).sum() < 2 for n in y])
    seen = []
    for turn in range(1 if len(x) > many else 4):
        asked, kept = (rank % 4 == turn) & ~single, (rank % 4 != turn) | single
        if len(x) > many:
            asked, kept = (rank % 3 == 1) & ~single, (rank % 3 == 0) | single
        if asked.any():
            rows = x[asked]
            seen.append((alone(x[kept], y[kept], rows, t), scale * unit(rows) @ unit(t).T, far(rows, kept), y[asked]))
    part = 1 / max(len(x) / ways, 1)
    before = np.array([1, words * part, 1 - part])

    def loss(w: Array) -> float:
        total = 5 * ((w - before) ** 2).sum()
        for a, b, c, own in seen:
            total -= np.log(softmax(w[0] * a + w[1] * b + w[2] * c)[np.arange(len(own)), own]).sum()
        return float(total)

    starts = [before, np.full(3, 0.1)]
    ends = [minimize(loss, start, bounds=[(0, None)] * 3, method="L-BFGS-B", tol=1e-15) for start in starts]
    w = min(ends, key=lambda end: end.fun).x if seen else before / before.sum()
    return w[0] * alone(x, y, q, t) + w[1] * scale * unit(q) @ unit(t).T + w[2] * far(q, np.ones(len(x), bool))


def proker(
    x: Array,
    y: Labels,
    q: Array,
    t: Array,
    beta: float | None = None,
    strength: float = 10.0,
    scale: float | None = None,
) -> Array:
    x, q, t = unit(x), unit(q), unit(t)
    beta = 2 / mean_square(x) if beta is None else beta
    scale = likeliest_scale(x, y, t) if scale is None else scale
    kernel = np.exp(-beta * (1 - x @ x.T))
    correction = np.linalg.solve(kernel + np.eye(len(x)) / strength, np.eye(len(t))[y] - softmax(scale * x @ t.T))
    return 10 * (softmax(scale * q @ t.T) + np.exp(-beta * (1 - q @ x.T)) @ correction)


def gda(x: Array, y: Labels, q: Array, t: Array, scale: float = 100.0) -> Array:
    x, q, t = unit(x), unit(q), unit(t)
    means = np.stack([x[y == n].mean(0) if (y == n).any() else t[n] for n in range(len(t))])
    centred = x - means[y]
    trace = max((centred**2).sum() / max(len(x) - 1, 1), 1e-6)
    precision = x.shape[1] * np.linalg.inv(centred.T @ centred + trace * np.eye(x.shape[1]))
    weight = means @ precision
    bias = -0.5 * np.einsum("nd,nd->n", weight, means)

    def spread(logits: Array) -> float:
        return float(np.sqrt(((logits - logits.mean(1, keepdims=True)) ** 2).mean()))

    ratio = spread(scale * x @ t.T) / spread(x @ weight.T + bias)
    return scale * q @ t.T + ratio * (q @ weight.T + bias)


def cross_modal(x: Array, y: Labels, q: Array, t: Array) -> Array:
    x, t, ways = unit(x), unit(t), np.eye(len(t)) - 1 / len(t)
    rows = np.concatenate([(x - x.mean(0)) / mean_square(x) ** 0.5, 3**0.5 * (t - t.mean(0)) / mean_square(t) ** 0.5])
    target = np.concatenate([ways[y], 3**0.5 * ways])
    weight = np.linalg.solve(rows.T @ rows + 10 * np.eye(rows.shape[1]), rows.T @ target)
    return 100 * (unit(q) - x.mean(0)) / mean_square(x) ** 0.5 @ weight


def descend(
    x: Array, y: Labels, q: Array, t: Array, *, steps: int, rate: float, adam: bool = False,
    anchor: float | None = None, reach: float = 1.0, wise: float = 0.0,
) -> Array:  # fmt: skip
    rows, labels = torch.from_numpy(unit(x)), torch.from_numpy(y)
    start = 10 * torch.from_numpy(unit(t))
    residual = torch.zeros_like(start, requires_grad=True)
    make = torch.optim.Adam([residual], rate) if adam else torch.optim.SGD([residual], rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LambdaLR(make, lambda k: 0.5 * (1 + math.cos(math.pi * k / steps)))
    trust = torch.ones(len(t), dtype=start.dtype)
    prior = torch.softmax(100 * rows @ start.T / 10, -1)
    for n in range(len(t)):
        if (labels == n).any():
            trust[n] = prior[labels == n, n].mean()
    for _ in range(steps):
        weight = start + reach * residual
        logits = 100 * rows @ torch.nn.functional.normalize(weight, dim=-1).T
        loss = torch.nn.functional.cross_entropy(logits, labels)
        if anchor is not None:
            loss = loss + anchor * (trust * (weight - start).square().sum(-1)).mean()
        make.zero_grad()
        loss.backward()
        make.step()
        schedule.step()
    weight = unit((start + reach * residual).detach().numpy())
    return 100 * unit(q) @ unit((1 - wise) * weight + wise * unit(t)).T


def tip_adapter_f(x: Array, y: Labels, q: Array, t: Array) -> Array:
    rows, labels, text = torch.from_numpy(unit(x)), torch.from_numpy(y), torch.from_numpy(unit(t))
    keys = rows.clone().requires_grad_()
    adam = torch.optim.Adam([keys], 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 20)
    one_hot = torch.nn.functional.one_hot(labels, len(t)).double()
    for _ in range(20):
        logits = 100 * rows @ text.T + torch.exp(-5.5 * (1 - rows @ keys.T)) @ one_hot
        adam.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        adam.step()
        schedule.step()
    asked = torch.from_numpy(unit(q))
    return (100 * asked @ text.T + torch.exp(-5.5 * (1 - asked @ keys.T)) @ one_hot).detach().numpy()


def clip_adapter(x: Array, y: Labels, q: Array, t: Array, down: Array, up: Array) -> Array:
    rows, labels, text = torch.from_numpy(unit(x)), torch.from_numpy(y), torch.from_numpy(unit(t))
    layers = [torch.tensor(layer, dtype=torch.float64, requires_grad=True) for layer in (down, up)]
    adam = torch.optim.Adam(layers, 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 30)

    def logits(x: torch.Tensor) -> torch.Tensor:
        bent = 0.2 * ((x @ layers[0]).relu() @ layers[1]).relu() + 0.8 * x
        return 100 * torch.nn.functional.normalize(bent, dim=-1) @ text.T

    for _ in range(30):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(logits(rows), labels).backward()
        adam.step()
        schedule.step()
    return logits(torch.from_numpy(unit(q))).detach().numpy()


def lp_plus_plus(x: Array, y: Labels, q: Array, t: Array, steps: int) -> Array:
    x, q, t = unit(x), unit(q), unit(t)
    rows, labels, cosine = torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(x @ t.T)
    weight = torch.from_numpy(np.eye(len(t))[y].T @ x).requires_grad_()
    means = [np.mean([x[s] @ t[n] for s in np.flatnonzero(y == n)]) for n in range(len(t)) if (y == n).any()]
    alpha = torch.full((len(t),), 250 * float(np.mean(means)), dtype=torch.float64, requires_grad=True)
    rate = 4 * len(x) / np.linalg.eigvalsh(x @ x.T)[-1]
    rate_alpha = len(x) / (4 * (cosine**2).sum(0).max())
    sgd = torch.optim.SGD([weight], rate, momentum=0.9)
    for step in range(steps):
        loss = torch.nn.functional.cross_entropy(rows @ weight.T + alpha * cosine, labels)
        sgd.zero_grad()
        alpha.grad = None
        loss.backward()
        sgd.step()
        if step % 10 == 9:
            with torch.no_grad():
                alpha -= rate_alpha * alpha.grad
    return (torch.from_numpy(q) @ weight.T + alpha * torch.from_numpy(q @ t.T)).detach().numpy()


def strongest(row: Array, count: int) -> Array:
    kept = np.zeros_like(row)
    order = np.argsort(-row, kind="stable")[:count]
    kept[order] = row[order]
    return kept


def zlap(x: Array, y: Labels, q: Array, t: Array) -> Array:
    images, t, ways = unit(np.concatenate([x, q])), unit(t), len(t)
    size = ways + len(images)
    edges = np.zeros((size, size))
    for i, row in enumerate(images):
        near = np.maximum(images @ row, 0)
        near[i] = 0
        edges[ways + i, ways:] = strongest(near, 5)
        words = strongest(np.maximum(t @ row, 0) ** 5, 5)
        edges[ways + i, :ways] = words if i >= len(x) else words.sum() * np.eye(ways)[y[i]]
    edges = edges + edges.T
    degree = np.maximum(edges.sum(1), 1e-12)
    start = np.zeros((size, ways))
    start[:ways] = np.eye(ways)
    answer = np.linalg.solve(np.eye(size) - 0.3 * edges / np.sqrt(np.outer(degree, degree)), start)
    return np.log(np.maximum(answer[-len(q) :], 1e-30))


def neighbours(rows: Array, count: int) -> Array:
    near = rows @ rows.T
    np.fill_diagonal(near, 0)
    edges = np.stack([strongest(np.maximum(row, 0), count) for row in near])
    return edges + edges.T


def assigned(ll: Array, prior: Array, graph: Array, fixed: Array, z: Array, steps: int) -> Array:
    for _ in range(steps):
        everything = np.concatenate([fixed, z])
        z = softmax(prior + (ll + 50 / 6 * graph @ everything) / 50)
    return z


def transclip(x: Array, y: Labels, q: Array, t: Array) -> Array:
    x, q, t = unit(x), unit(q), unit(t)
    fixed, rows = np.eye(len(t))[y], np.concatenate([x, q])
    graph = neighbours(rows, 3)[-len(q) :]
    probabilities = softmax(100 * q @ t.T)
    prior = (0.5 if len(x) else 1.0) * np.log(probabilities)
    z = softmax(prior)
    weight = len(q) / max(len(x), 1)
    means = np.stack([
        x[y == n].sum(0) if (y == n).any() else (strongest(z[:, n], 8)[:, None] * q).sum(0) for n in range(len(t))
    ])  # fmt: skip
    means, variance = unit(means), np.full(q.shape[1], 1 / q.shape[1])

    def likelihood() -> Array:
        return np.stack([[-0.5 * ((row - mean) ** 2 / variance).sum() for mean in means] for row in q])

    for _ in range(10):
        z = assigned(likelihood(), prior, graph, fixed, z, 5)
        w = np.concatenate([weight * fixed, z])
        means = unit(np.stack([(w[:, n, None] * rows).sum(0) / w[:, n].sum() for n in range(len(t))]))
        variance = sum(
            (w[:, n, None] * (rows - means[n]) ** 2).sum(0) for n in range(len(t))
        ) / w.sum()  # fmt: skip
        variance = np.maximum(variance, 1e-6)
    return np.log(assigned(likelihood(), prior, graph, fixed, z, 5))


def stata(x: Array, y: Labels, q: Array, t: Array) -> Array:
    x, q, t = unit(x), unit(q), unit(t)
    fixed, rows = np.eye(len(t))[y], np.concatenate([x, q])
    graph = neighbours(rows, 3)[-len(q) :]
    prior = np.log(softmax(100 * q @ t.T))
    z, means = softmax(prior), t
    w = np.concatenate([fixed, z])
    base = sum((w[:, n, None] * (rows - t[n]) ** 2).sum(0) for n in range(len(t))) / len(rows)
    spread = np.stack([np.maximum(base, 1e-6)] * len(t))

    def likelihood() -> Array:
        return np.stack([[-0.5 * ((r - m) ** 2 / s).sum() for m, s in zip(means, spread, strict=True)] for r in q])

    for _ in range(10):
        z = assigned(likelihood(), prior, graph, fixed, z, 5)
        w = np.concatenate([fixed, z])
        new = []
        for n in range(len(t)):
            count = (z.argmax(1) == n).sum() + fixed[:, n].sum()
            beta = count / (1 + count)
            mean = unit(beta * (w[:, n, None] * rows).sum(0) / w[:, n].sum() + (1 - beta) * t[n])
            own = (w[:, n, None] * (rows - mean) ** 2).sum(0) / w[:, n].sum()
            new.append((mean, np.maximum(beta * own + (1 - beta) * (base + (t[n] - mean) ** 2), 1e-6)))
        means, spread = np.stack([m for m, _ in new]), np.stack([s for _, s in new])
    return np.log(assigned(likelihood(), prior, graph, fixed, z, 5))

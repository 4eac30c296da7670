"""Unlabelled rows around a few examples, row by row and class by class."""

from __future__ import annotations

import numpy as np

SHARES = (0.02, 0.06, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def likely_classes(means: np.ndarray, counts: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the classes by centres as the examples leave them, and by centres that other rows move."""
    known, seen = _whitened(means, rows)
    value = rows @ np.linspace(1, 2, rows.shape[1])
    order = np.argsort(value, kind="stable")
    fold = np.zeros(len(rows), int)
    for rank, row in enumerate(order):
        fold[row] = rank % 3
    answers = []
    for model in (_by_examples, _by_rows):
        evidence, chances = [], []
        for share in SHARES:
            joint = model(known, counts, seen, fold, share)  # log p(u, n) [U, N]
            total = np.log(np.exp(joint).sum(1))
            evidence.append(0.3 * total.sum() + 2 * np.log(share) + 3 * np.log(1 - share))
            chances.append(np.exp(joint - total[:, None]))
        weight = np.exp(np.array(evidence) - max(evidence))
        answers.append(sum(w * chance for w, chance in zip(weight / weight.sum(), chances, strict=True)))
    return answers[0], answers[1]


def _whitened(means: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    away = means - means.mean(0)
    values, vectors = np.linalg.eigh(away.T @ away)
    size = min(16, len(means) - 1, means.shape[1])
    basis = vectors[:, np.argsort(-values)[:size]]
    seen = (rows - rows.mean(0)) @ basis
    covariance = seen.T @ seen / len(seen)
    covariance = (len(seen) * covariance + size * np.trace(covariance) / size * np.eye(size)) / (len(seen) + size)
    inverse = np.linalg.inv(np.linalg.cholesky(covariance))
    return away @ basis @ inverse.T, seen @ inverse.T


def _by_examples(known: np.ndarray, counts: np.ndarray, rows: np.ndarray, fold: np.ndarray, share: float) -> np.ndarray:
    kept = np.array([share / (share + (1 - share) / k) for k in counts])
    centre, doubt, often = kept[:, None] * known, share * (1 - kept), np.full(len(known), 1 / len(known))
    for _ in range(10):
        joint = _density(rows, centre, 1 - share + doubt, often)
        often = _frequency(_normal(joint))
    return _density(rows, centre, 1 - share + doubt, often)


def _by_rows(known: np.ndarray, counts: np.ndarray, rows: np.ndarray, fold: np.ndarray, share: float) -> np.ndarray:
    kept = np.array([share / (share + (1 - share) / k) for k in counts])
    start, doubt = kept[:, None] * known, share * (1 - kept)
    found = np.zeros((len(rows), len(known)))
    for number in range(3):
        others = rows[fold != number]
        centre, variance, often = start.copy(), doubt.copy(), np.full(len(known), 1 / len(known))
        for _ in range(10):
            middle = often @ centre
            joint = np.zeros((len(others), len(known)))
            for place, row in enumerate(others):
                for n in range(len(known)):
                    apart = ((row - centre[n] + middle) ** 2).sum() + rows.shape[1] * variance[n]
                    joint[place, n] = np.log(often[n]) - apart / (2 * (1 - share))
            member = _normal(joint)
            for n in range(len(known)):
                variance[n] = 1 / (1 / doubt[n] + member[:, n].sum() / (1 - share))
                total = sum(weight * (row + middle) for weight, row in zip(member[:, n], others, strict=True))
                centre[n] = variance[n] * (start[n] / doubt[n] + total / (1 - share))
            often = _frequency(member)
        found[fold == number] = _density(rows[fold == number], centre, 1 - share + variance, often)
    return found


def _density(rows: np.ndarray, centre: np.ndarray, variance: np.ndarray, often: np.ndarray) -> np.ndarray:
    middle, size = often @ centre, rows.shape[1]
    return np.array(
        [
            [
                np.log(often[n])
                - ((row - centre[n] + middle) ** 2).sum() / (2 * variance[n])
                - size / 2 * np.log(variance[n])
                for n in range(len(centre))
            ]
            for row in rows
        ]
    )


def _normal(joint: np.ndarray) -> np.ndarray:
    weight = np.exp(joint - joint.max(1, keepdims=True))
    return weight / weight.sum(1, keepdims=True)


def _frequency(member: np.ndarray) -> np.ndarray:
    return (member.mean(0) + 1 / member.shape[1]) / 2

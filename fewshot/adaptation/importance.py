"""Importance-weighted validation: held-out source rows that count as often as they would be met in the target."""

from __future__ import annotations

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from episodes.inputs import check_whole
from fewshot.adaptation.density_ratio import DensityRatio
from fewshot.learner import Learner


def importance_validation(learner: Learner, episode: Episode, *, folds: int = 5) -> Tensor:
    """Accuracy on held-out source rows, weighted by ``w = p(target) / p(source)`` ``[E]``: ``sum w right / sum w``.

    Where a row's class depends on the row alone in both domains alike (covariate shift) and the domains overlap, this
    estimates the accuracy on the target: rows that look like the target count. It is blind to what breaks that
    assumption: where the same row is of another class in the target (another camera, another speaker), it prefers what
    serves the source. Weights are out of fold, by `density-ratio`, and of mean 1.

    Args:
        learner: usually a pipeline with an adapter; it is asked about source rows as it would be about target rows.
        episode: support of the source; the target is `Episode.unlabelled`, or else the queries.
        folds: parts in which source rows are held out, within each class.

    Raises:
        ValueError: fewer than two folds.

    Warns:
        AdaptationWarning: the weights rest on a handful of rows; the score then says little.

    Reference: Sugiyama, Krauledat, Müller, "Covariate shift adaptation by importance weighted cross validation", JMLR 8
    (2007).
    """
    check_whole("folds", folds, 2)
    target = episode.query if episode.unlabelled is None or not episode.unlabelled.shape[1] else episode.unlabelled
    rows, labels = episode.support, episode.labels
    with torch.no_grad():
        weights = importance(episode.without_query(), target)  # [E, S]
        part = _folds(labels, episode.way, folds)
        right = torch.zeros_like(weights, dtype=torch.float64)
        for fold in range(folds):
            held_out = part == fold  # [E, S]
            task = episode.replace(labels=labels.masked_fill(held_out, -1), unlabelled=target, query=rows)
            answers = learner(task).argmax(-1)  # [E, S]
            right += held_out & (answers == labels)
    weights = weights.double() * (part >= 0)
    return (weights * right).sum(1) / weights.sum(1).clamp(min=torch.finfo(torch.float64).tiny)


def importance(source: Support, target: Tensor) -> Tensor:
    """``p(target) / p(source)`` of source rows ``[E, S]``, of mean 1; 0 for padding."""
    learned, _ = DensityRatio().align(source.replace(weights=None), target, lambda task, rows: rows)
    assert learned.weights is not None
    return learned.weights


def _folds(labels: Tensor, way: int, folds: int) -> Tensor:
    """The fold of each row, evenly within its class ``[E, S]``; -1 for padding and for the only row of a class."""
    of_class = torch.nn.functional.one_hot(labels.clamp(min=0), way) * (labels >= 0).unsqueeze(-1)  # [E, S, N]
    rank = (of_class.cumsum(1) * of_class).sum(-1) - 1  # [E, S]
    size = (of_class.sum(1, keepdim=True) * of_class).sum(-1)  # [E, S]
    return torch.where(size > 1, rank % folds, -1)

"""Scores of open-set recognition: do outlier scores separate queries of no known class from the others?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from episodes.answers import Answers
from episodes.episode import Episode


def outlier_scores(learner: Callable[[Episode], Tensor], episode: Episode, logits: Tensor) -> Tensor:
    """How little each query looks like any of the classes ``[E, Q]``; larger is stranger.

    A learner's own ``outlier_score(episode, logits)`` if it has one, else the log-odds against the most likely class.

    Reference: Hendrycks, Gimpel, "A baseline for detecting misclassified and out-of-distribution examples in
    neural networks", ICLR 2017, arXiv:1610.02136.
    """
    own: Any = getattr(learner, "outlier_score", None)
    if own is None:
        return log_odds_against_best(logits)
    scores: Tensor = own(episode, logits)
    return scores


def log_odds_against_best(logits: Tensor) -> Tensor:
    """``log((1 - p) / p)`` of the largest probability p ``[E, Q]``, 0 where only one class is possible.

    It rises as p falls, and keeps apart what a p of exactly 1 in the precision at hand would merge.
    """
    best, index = logits.max(-1, keepdim=True)
    others = logits.scatter(-1, index, -torch.inf).logsumexp(-1)
    return torch.where(others == -torch.inf, torch.zeros_like(others), others - best.squeeze(-1))


def auroc(answers: Answers) -> Tensor:
    """Area under the ROC curve of each episode ``[E]``: how often an open query scores higher than a known one."""
    known, unknown = answers.known, answers.open
    ranks = _ranks(torch.where(known | unknown, _outliers(answers), torch.inf))
    count, others = known.sum(1), unknown.sum(1)
    won = torch.where(unknown, ranks, 0).sum(1) - others * (others + 1) / 2
    return won / (count * others).clamp(min=1)


def fpr95(answers: Answers) -> Tensor:
    """Share of open queries that are let in where 95 % of the known ones are ``[E]``; smaller is better."""
    scores, known = _outliers(answers), answers.known
    ordered = torch.where(known, scores, torch.inf).sort(1).values
    place = (0.95 * known.sum(1)).ceil().long().clamp(min=1) - 1
    threshold = ordered.gather(1, place.unsqueeze(1))  # [E, 1]
    accepted = (scores <= threshold) & answers.open
    return accepted.sum(1).double() / answers.open.sum(1).clamp(min=1)


def _outliers(answers: Answers) -> Tensor:
    assert answers.outliers is not None  # evaluate gives them to metrics with open_set
    return answers.outliers.double()


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1 along the rows, equal values sharing their mean rank ``[E, Q]``."""
    ordered = values.sort(1).values
    below = torch.searchsorted(ordered, values.contiguous(), side="left")
    up_to = torch.searchsorted(ordered, values.contiguous(), side="right")
    return (below + up_to + 1).double() / 2

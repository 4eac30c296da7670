"""Scores of closed-set classification, one number per episode."""

from __future__ import annotations

import torch
from torch import Tensor

from episodes.answers import Answers

BINS = 15  # of the calibration error, as in Guo et al.
LEAST_PROBABILITY = 2.0**-52  # a right class is given at least this: one certain error would outweigh everything else


def accuracy(answers: Answers) -> Tensor:
    """Share of scored queries that were classified correctly ``[E]``."""
    return answers.right.sum(1).double() / answers.known.sum(1).clamp(min=1)


def balanced_accuracy(answers: Answers) -> Tensor:
    """Mean over classes of the share of their queries classified correctly ``[E]``; only classes with queries count."""
    counts = answers.confusion  # [E, N, N]
    size = counts.sum(2)  # [E, N]
    recall = counts.diagonal(dim1=1, dim2=2) / size.clamp(min=1)
    return recall.sum(1) / (size > 0).sum(1).clamp(min=1)


def macro_f1(answers: Answers) -> Tensor:
    """Mean over classes of ``2 right / (queries of the class + queries predicted as it)`` ``[E]``.

    Classes without queries that were never predicted do not count, as in scikit-learn's ``f1_score``.
    """
    counts = answers.confusion
    size = counts.sum(2) + counts.sum(1)  # [E, N]
    f1 = 2 * counts.diagonal(dim1=1, dim2=2) / size.clamp(min=1)
    return f1.sum(1) / (size > 0).sum(1).clamp(min=1)


def calibration_error(answers: Answers) -> Tensor:
    """Expected calibration error ``sum_b n_b / n |accuracy_b - confidence_b|`` over 15 equal bins ``[E]``.

    In few queries it is too large even for a calibrated learner, since accuracies of small bins vary; compare learners
    on the same episodes, or take that of all queries together (``Result.predictions.calibration_error()``).

    Reference: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, arXiv:1706.04599.
    """
    confidence = answers.confidence.double()
    bins = (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)  # [E, Q]
    gap = torch.where(answers.known, answers.right.double() - confidence, 0)
    gaps = torch.zeros(len(gap), BINS, dtype=torch.float64, device=gap.device).scatter_add_(1, bins, gap)
    return gaps.abs().sum(1) / answers.known.sum(1).clamp(min=1)


def log_loss(answers: Answers) -> Tensor:
    """Mean over scored queries of minus the log-probability of the right class, in nats ``[E]``."""
    loss = -answers.log_likelihood.double().clamp(min=torch.tensor(LEAST_PROBABILITY).log().item())
    return torch.where(answers.known, loss, 0).sum(1) / answers.known.sum(1).clamp(min=1)

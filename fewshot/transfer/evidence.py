"""LogME: how probable the labels are under a Bayesian linear model of the features."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fewshot.transfer.rows import checked_labels, checked_rows

_GRID, _SPAN = 121, 15.0  # ratios tried: e^-15 to e^15 times the largest squared singular value
_REFINEMENTS = 60  # golden-section steps; each keeps 0.618 of the bracket


def logme(features: Any, labels: Any) -> float:
    """Logarithm of the maximum evidence, averaged over classes and rows; higher is better, whatever the number D.

    With targets ``y`` (1 for rows of a class, 0 else), weights ``w ~ N(0, 1/alpha)`` and noise ``1/beta``::

        log p(y | F) = M/2 log(beta / 2 pi) - beta/2 y^T K^-1 y - 1/2 log |K|,   K = I + F F^T / r,   r = alpha / beta

    For each r the best beta is ``M / y^T K^-1 y``, so that one number remains, which is found on a grid and refined.
    (The fixed-point iteration of the paper may stop early, and its usual program leaves out a term where D > M.)

    Args:
        features: ``[M, D]``.
        labels: ``[M]``.

    Raises:
        ValueError: shapes disagree, values are not finite, or there is only one class.

    Reference: You, Liu, Wang, Long, "LogME: practical assessment of pre-trained models for transfer learning", ICML
    2021, arXiv:2102.11005.

    >>> rows = torch.eye(4).repeat_interleave(5, 0)
    >>> logme(rows, torch.arange(4).repeat_interleave(5)) > logme(rows, torch.arange(20) % 4)
    True
    """
    rows = checked_rows(features)
    numbers = checked_labels(labels, len(rows)).to(rows.device)
    left, values, _ = torch.linalg.svd(rows, full_matrices=False)
    squares = values.square()  # [k]
    targets = torch.nn.functional.one_hot(numbers).to(rows)  # [M, C]
    inside = (left.mT @ targets).square().mT  # [C, k]
    outside = (targets.square().sum(0) - inside.sum(1)).clamp(min=0)  # [C]
    low = squares.max().clamp(min=torch.finfo(rows.dtype).tiny).log()

    def evidence(log_ratio: Tensor) -> Tensor:
        """Of each class at ratios ``[C, G]``: ``[C, G]``."""
        ratio = log_ratio.exp().unsqueeze(-1)  # [C, G, 1]
        misfit = (inside.unsqueeze(1) * (ratio / (ratio + squares))).sum(-1) + outside.unsqueeze(1)
        volume = torch.log1p(squares / ratio).sum(-1)
        n = len(rows)
        return n / 2 * (n / (2 * math.pi * misfit)).log() - n / 2 - volume / 2

    grid = (low + torch.linspace(-_SPAN, _SPAN, _GRID).to(rows)).expand(len(inside), -1)
    scores = torch.cat([evidence(part) for part in grid.split(8, dim=1)], dim=1)  # [C, G]
    place = scores.argmax(1).clamp(1, _GRID - 2)
    best = _golden(evidence, grid.gather(1, place[:, None] - 1), grid.gather(1, place[:, None] + 1))
    return float(torch.maximum(best, scores.amax(1)).mean() / len(rows))


def _golden(function: Any, low: Tensor, high: Tensor) -> Tensor:
    """Largest value of a function with one maximum between `low` and `high` ``[C, 1]``: ``[C]``."""
    share = (math.sqrt(5) - 1) / 2
    for _ in range(_REFINEMENTS):
        left, right = high - share * (high - low), low + share * (high - low)
        better = function(left) > function(right)
        low, high = torch.where(better, low, left), torch.where(better, right, high)
    return function((low + high) / 2).squeeze(1)

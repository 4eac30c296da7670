"""Generalised zero-shot learning: seen and unseen classes compete, and seen ones are held back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Generalised(NamedTuple):
    """Mean accuracy per class, each from 0 to 1.

    Attributes:
        unseen: of rows of unseen classes (U).
        seen: of rows of seen classes (S).
        harmonic: ``2 U S / (U + S)`` (H).
        ausuc: area under the curve of S against U over all amounts by which seen classes are held back.
        curve: its points ``[P, 2]``: U and S.
    """

    unseen: float
    seen: float
    harmonic: float
    ausuc: float
    curve: NDArray[np.float64]


def generalised(scores: Tensor, labels: Tensor, seen: Tensor, held_back: float = 0.0) -> Generalised:
    """Metrics of scores over seen and unseen classes together, with calibrated stacking.

    ``argmax_c (score_c - held_back [c is seen])``. Choose `held_back` on other classes taken for unseen, never on these
    rows; `ausuc` needs no choice.

    Args:
        scores: ``[M, C]``.
        labels: true classes ``[M]``.
        seen: which classes were trained on ``[C]``, bool.
        held_back: subtracted from the scores of seen classes.

    Raises:
        ValueError: shapes disagree, or there are rows of one kind only.

    Reference: Chao, Changpinyo, Gong, Sha, "An empirical study and analysis of generalized zero-shot learning for
    object recognition in the wild", ECCV 2016, arXiv:1605.04253.
    """
    if scores.shape[1] != len(seen) or len(scores) != len(labels):
        raise ValueError(f"scores are {list(scores.shape)}, labels {len(labels)}, seen {len(seen)}; [M, C], [M], [C].")
    scores, seen = scores.double(), seen.bool()
    of_seen = seen[labels]
    if of_seen.all() or not of_seen.any():
        raise ValueError("the rows are all of seen, or all of unseen classes; generalised metrics need both.")
    # Of each row only its best seen and best unseen class matter: it flips where what is held back passes their gap.
    best_seen, best_unseen = (scores.masked_fill(mask, -torch.inf) for mask in (~seen, seen))
    gap = best_seen.amax(1) - best_unseen.amax(1)  # [M]
    right_seen, right_unseen = best_seen.argmax(1) == labels, best_unseen.argmax(1) == labels
    counts = torch.bincount(labels, minlength=len(seen)).double()
    weight = 1 / counts[labels]  # so that each class counts the same

    def rates(amount: Tensor) -> tuple[Tensor, Tensor]:
        says_seen = gap > amount.unsqueeze(-1)
        right = torch.where(says_seen, right_seen, right_unseen).double() * weight
        parts = [(right * mask).sum(-1) / (weight * mask).sum() for mask in (~of_seen, of_seen)]
        return parts[0], parts[1]

    amounts = torch.cat([gap.min() - 1 + torch.zeros(1), gap.unique(), gap.max() + 1 + torch.zeros(1)])
    unseen, kept = (torch.cat(part) for part in zip(*(rates(chunk) for chunk in amounts.split(512)), strict=True))
    area = float(torch.trapezoid(kept, unseen).abs())
    now = rates(torch.tensor([held_back], dtype=torch.float64))
    u, s = float(now[0]), float(now[1])
    curve = torch.stack([unseen, kept], 1).numpy()
    return Generalised(u, s, 2 * u * s / max(u + s, 1e-12), area, curve)

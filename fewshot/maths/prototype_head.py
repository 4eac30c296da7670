"""A classifier of one vector per class, its logits and their gradient written out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fewshot.maths.linalg import lengths, normalize, product

METRICS = ("squared", "cosine", "euclidean")
_SMALLEST = 1e-12


class Scored(NamedTuple):
    """Logits of a `PrototypeHead`, and what the way back needs of their making."""

    logits: Tensor  # [E, N, R], -inf for absent classes
    inner: Tensor  # [E, N, R], logits of all classes; euclidean: distances
    outer: Tensor  # cosine: scale / |w| [E, N, 1]; else the class vectors relative to the centre [E, N, D]


class PrototypeHead:
    """Logits of rows for class vectors W, and the way back from the gradient of logits to that of W.

    - squared: ``-scale/2 |x - w|²``;
    - cosine: ``scale cos(x, w)``;
    - euclidean: ``-scale |x - w|``.

    Classes come first, ``[E, N, R]``: sums and a softmax over few classes are then passes over long rows.

    Args:
        metric: one of these.
        scale: factor on the logits, one or that of each episode ``[E, 1, 1]``.
        rows: that are to be scored again and again ``[E, R, D]``.
        absent: classes without support ``[E, N]``; their logits are ``-inf``.
        weight: class vectors about where W will be, for euclidean: their mean is what distances are computed
            relative to, so that far-away clouds lose no digits to cancellation.

    Raises:
        ValueError: an unknown metric.
    """

    def __init__(self, metric: str, scale: float | Tensor, rows: Tensor, absent: Tensor, weight: Tensor) -> None:
        check_metric(metric)
        self.metric, self.scale, self.rows = metric, scale, rows
        self.absent = absent.unsqueeze(-1)  # [E, N, 1]
        # Looking at values would stall an accelerator.
        self.complete = absent.device.type == "cpu" and not torch.compiler.is_compiling() and not absent.any()
        if metric == "cosine":
            self.rows = normalize(rows, dim=-1)
        elif metric == "euclidean":
            self.centre = weight.mean(1, keepdim=True)  # [E, 1, D]
            self.rows = rows - self.centre
            self.squares = torch.linalg.vector_norm(self.rows, dim=-1).square().unsqueeze(1)  # [E, 1, R]

    def score(self, weight: Tensor) -> Scored:
        """Logits of all rows for class vectors ``[E, N, D]``."""
        if self.metric == "cosine":
            outer = self.scale / lengths(weight)  # [E, N, 1]
            logits = inner = product(weight, self.rows.mT) * outer  # [E, N, R]
        elif self.metric == "squared":
            outer = weight
            half = torch.linalg.vector_norm(weight, dim=-1, keepdim=True).square() / 2  # [E, N, 1]
            # |x|² shifts all logits of a row alike; no softmax sees it.
            logits = inner = self.scale * (product(weight, self.rows.mT) - half)
        else:
            outer = weight - self.centre
            length = torch.linalg.vector_norm(outer, dim=-1, keepdim=True).square()  # [E, N, 1]
            squares = self.squares + length - 2 * product(outer, self.rows.mT)
            inner = squares.clamp(min=_SMALLEST).sqrt()
            logits = -self.scale * inner
        return Scored(logits if self.complete else logits.masked_fill(self.absent, -torch.inf), inner, outer)

    def logits(self, weight: Tensor) -> Tensor:
        """Scores of all rows for class vectors ``[E, N, D]``: ``[E, R, N]``."""
        return self.score(weight).logits.mT

    def gradient(self, weight: Tensor, of_logits: Tensor, scored: Scored) -> Tensor:
        """Gradient with respect to W ``[E, N, D]`` of what has this gradient with respect to the logits.

        Args:
            weight: the class vectors.
            of_logits: the gradient with respect to their logits ``[E, N, R]``.
            scored: what `score` made of them.
        """
        if self.metric == "cosine":
            # pull - (pull·d) d, with d = w / |w| and pull·d = Σ_r of_logits cos
            pull = of_logits * scored.outer  # [E, N, R]
            along = (pull * scored.inner).sum(-1, keepdim=True) * scored.outer / self.scale**2  # [E, N, 1]
            return product(pull, self.rows).addcmul_(along, weight, value=-1)
        pull = self.scale * (of_logits / scored.inner if self.metric == "euclidean" else of_logits)
        return product(pull, self.rows).addcmul_(pull.sum(-1, keepdim=True), scored.outer, value=-1)


def check_metric(metric: str) -> None:
    """Refuse an unknown metric."""
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r}; it must be one of {', '.join(METRICS)}.")


def cross_entropy_gradient(probabilities: Tensor, one_hot: Tensor) -> Tensor:
    """Gradient with respect to logits of the mean cross-entropy; rows of zeros are padding ``[E, S, N]``."""
    known = one_hot.sum(-1, keepdim=True)  # [E, S, 1]
    return (probabilities * known - one_hot) / known.sum(1, keepdim=True).clamp(min=1)


def cross_entropy_terms(one_hot: Tensor) -> tuple[Tensor, Tensor]:
    """Terms t ``[E, N, S]`` and shares s ``[E, 1, S]`` with which ``t + p s`` is that gradient, classes first."""
    known = one_hot.sum(-1).unsqueeze(1)  # [E, 1, S]
    count = known.sum(-1, keepdim=True).clamp(min=1)  # [E, 1, 1]
    return (-one_hot.mT / count).contiguous(), known / count


def through_softmax(probabilities: Tensor, gradient: Tensor) -> Tensor:
    """From the gradient with respect to probabilities ``[E, N, R]`` to that with respect to logits."""
    return probabilities * (gradient - (probabilities * gradient).sum(1, keepdim=True))

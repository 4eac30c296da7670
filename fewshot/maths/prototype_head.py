"""A classifier of one vector per class, its logits and their gradient written out."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.maths.affinity import squared_distances
from fewshot.maths.linalg import lengths, normalize, product

METRICS = ("squared", "cosine", "euclidean")
_SMALLEST = 1e-12


class PrototypeHead:
    """Logits of rows for class vectors W, and the way back from the gradient of logits to that of W.

    - squared: ``-scale/2 |x - w|²``;
    - cosine: ``scale cos(x, w)``;
    - euclidean: ``-scale |x - w|``.

    Args:
        metric: one of these.
        scale: factor on the logits, one or that of each episode ``[E, 1, 1]``.
        rows: that are to be scored again and again ``[E, R, D]``.
        absent: classes without support ``[E, N]``; their logits are ``-inf``.

    Raises:
        ValueError: an unknown metric.
    """

    def __init__(self, metric: str, scale: float | Tensor, rows: Tensor, absent: Tensor) -> None:
        check_metric(metric)
        self.metric, self.scale = metric, scale
        self.rows = normalize(rows, dim=-1) if metric == "cosine" else rows
        self.absent = absent.unsqueeze(1)  # [E, 1, N]

    def logits(self, weight: Tensor) -> Tensor:
        """Scores of all rows for class vectors ``[E, N, D]``: ``[E, R, N]``."""
        if self.metric == "cosine":
            # Divided by the length afterwards: that is a pass over [E, R, N], not over [E, N, D].
            scores = self.scale * (product(self.rows, weight.mT) / lengths(weight).mT)
        elif self.metric == "squared":
            # |x|² shifts all logits of a row alike; no softmax sees it.
            squares = weight.square().sum(-1).unsqueeze(1)  # [E, 1, N]
            scores = self.scale * (product(self.rows, weight.mT) - squares / 2)
        else:
            scores = -self.scale * squared_distances(self.rows, weight).clamp(min=_SMALLEST).sqrt()
        return scores.masked_fill(self.absent, -torch.inf)

    def gradient(self, weight: Tensor, of_logits: Tensor) -> Tensor:
        """Gradient with respect to W ``[E, N, D]`` of what has this gradient with respect to the logits."""
        if self.metric == "cosine":
            length = lengths(weight)  # [E, N, 1]
            factor = self.scale / length
            cosines = product(self.rows, weight.mT) / length.mT  # [E, R, N]
            along = (of_logits * cosines).sum(1).unsqueeze(-1)  # [E, N, 1]
            # pull - (pull·d) d, with d = w / |w| and pull·d = Σ_r of_logits cos
            return product((of_logits * factor.mT).mT, self.rows).addcmul_(factor * along / length, weight, value=-1)
        if self.metric == "euclidean":
            distances = squared_distances(self.rows, weight).clamp(min=_SMALLEST).sqrt()
            of_logits = of_logits / distances
        of_logits = self.scale * of_logits
        return product(of_logits.mT, self.rows).addcmul_(of_logits.sum(1).unsqueeze(-1), weight, value=-1)


def check_metric(metric: str) -> None:
    """Refuse an unknown metric."""
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r}; it must be one of {', '.join(METRICS)}.")


def cross_entropy_gradient(probabilities: Tensor, one_hot: Tensor) -> Tensor:
    """Gradient with respect to logits of the mean cross-entropy; rows of zeros are padding ``[E, S, N]``."""
    known = one_hot.sum(-1, keepdim=True)  # [E, S, 1]
    return (probabilities * known - one_hot) / known.sum(1, keepdim=True).clamp(min=1)


def through_softmax(probabilities: Tensor, gradient: Tensor) -> Tensor:
    """From the gradient with respect to probabilities to that with respect to logits."""
    return probabilities * (gradient - (probabilities * gradient).sum(-1, keepdim=True))

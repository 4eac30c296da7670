"""Weights that bring the gradients of all tasks to like sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.multi_task.weighting import Gradients, Weighting

_LEAST = 1e-3  # a weight that reached zero would never come back


class GradNorm(Weighting):
    """``loss = sum_t s_t w_t L_t`` with weights that bring ``G_t = w_t |grad L_t|`` to ``mean(G) r_t^alpha``.

    Gradients are those at the last trained stage; ``r_t = (L_t / L_t(0)) / mean(L / L(0))`` is its pace.
    After each step ``w_t <- w_t - lr d/dw_t sum_t |G_t - mean(G) r_t^alpha|``, the second term held fixed, in units of
    mean(G), so that no rate depends on the scale of the losses; then the weights are scaled to mean 1. Tasks without
    rows in a batch keep theirs but for this scale.

    Args:
        alpha: how strongly slow tasks are favoured.
        lr: rate of the weights.

    Reference: Chen, Badrinarayanan, Lee, Rabinovich, "GradNorm: gradient normalization for adaptive loss balancing in
    deep multitask networks", ICML 2018, arXiv:1711.02257.
    """

    name, compares = "gradnorm", True
    weight: Tensor
    first: Tensor

    def __init__(self, alpha: float = 1.5, lr: float = 0.025) -> None:
        super().__init__()
        if alpha < 0 or not lr > 0:
            raise ValueError(
                f"gradnorm(alpha={alpha!r}, lr={lr!r}); the first must not be negative, the second positive."
            )
        self.alpha, self.lr = float(alpha), float(lr)

    def begin(self, tasks: int) -> None:
        """All weights begin at 1; first losses are not known yet."""
        self.register_buffer("weight", torch.ones(tasks))
        self.register_buffer("first", torch.zeros(tasks))

    def loss(self, losses: Tensor, shares: Tensor, present: Tensor) -> Tensor:
        """``sum_t s_t w_t L_t``."""
        return (shares * self.weight[present] * losses).sum()

    @torch.no_grad()
    def update(self, losses: Tensor, present: Tensor, gradients: Gradients) -> None:
        """One step of the weights."""
        found = gradients(True)
        if not found:
            return
        norms = torch.stack([torch.stack([part.float().square().sum() for part in own]).sum().sqrt() for own in found])
        first = self.first[present]
        self.first[present] = torch.where(first > 0, first, losses)
        moved = moved_weights(self.weight[present], norms, losses / self.first[present], self.alpha, self.lr)
        self.weight[present] = moved.clamp(min=_LEAST)
        self.weight *= len(self.weight) / self.weight.sum()

    def weights(self) -> Tensor:
        """The w of each task."""
        return self.weight.clone()


def moved_weights(weight: Tensor, norms: Tensor, left: Tensor, alpha: float, lr: float) -> Tensor:
    """Weights after a gradient step on ``sum_t |w_t n_t / G - r_t^alpha|``, before they are scaled ``[T]``.

    ``G = mean(w n)`` is held fixed.

    Args:
        weight: w ``[T]``.
        norms: n, lengths of the gradients of the losses themselves ``[T]``.
        left: losses as shares of the first ones ``[T]``.
        alpha: as in `GradNorm`.
        lr: rate.
    """
    norms = norms / (weight * norms).mean().clamp(min=torch.finfo(norms.dtype).tiny)
    wanted = (left / left.mean()) ** alpha
    return weight - lr * torch.sign(weight * norms - wanted) * norms

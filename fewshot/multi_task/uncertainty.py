"""Weights from the uncertainty of each task, which is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fewshot.multi_task.weighting import Weighting


class Uncertainty(Weighting):
    """``loss = sum_t s_t (exp(-v_t) L_t + v_t / 2)``, the log variance ``v_t = log sigma_t²`` of each task learned.

    At rest ``exp(-v_t) = 1 / (2 L_t)``: tasks of small loss weigh more. For classes this is the paper's softmax of
    logits divided by ``sigma²``, with its approximation.

    Reference: Kendall, Gal, Cipolla, "Multi-task learning using uncertainty to weigh losses for scene geometry and
    semantics", CVPR 2018, arXiv:1705.07115.
    """

    name = "uncertainty"

    def begin(self, tasks: int) -> None:
        """All variances begin at 1."""
        self.log_variance = nn.Parameter(torch.zeros(tasks))

    def loss(self, losses: Tensor, shares: Tensor, present: Tensor) -> Tensor:
        """The weighted losses, and what keeps variances from growing."""
        value = self.log_variance[present]
        return (shares * (torch.exp(-value) * losses + value / 2)).sum()

    def weights(self) -> Tensor:
        """``exp(-v_t)``."""
        return torch.exp(-self.log_variance.detach())

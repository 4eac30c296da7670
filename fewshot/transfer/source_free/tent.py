"""`tent`: scales and shifts of batch norms that make the answers about target rows sure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fewshot.transfer.source_free.method import SourceFree, TargetObjective, entropy
from fewshot.transfer.strategies import Norm

if TYPE_CHECKING:
    from fewshot.transfer.settings import Settings


class Tent(Norm, SourceFree):
    """Scales and shifts of batch norms minimise the mean entropy of the answers, under statistics of the batch.

    ``mean_i H(p_i)``, p the softmax of the head. As the authors adapt offline: all target rows are seen before any is
    answered; the running statistics are then taken from them, so that answers do not depend on the batch.

    Args:
        epochs: passes over the target rows.
        lr: rate of Adam.

    Reference: Wang, Shelhamer, Liu, Olshausen, Darrell, "Tent: fully test-time adaptation by entropy minimization",
    ICLR 2021, arXiv:2006.10726.
    """

    name = "tent"

    def __init__(self, epochs: int = 1, lr: float = 1e-3) -> None:
        super().__init__(epochs, lr)

    def minimised(self, how: Settings, rows: Any, labels: Tensor, device: torch.device) -> TargetObjective:
        """The mean entropy."""
        return _Entropy(how, rows, labels, device)


class _Entropy(TargetObjective):
    def loss(self, logits: Tensor, chosen: Tensor) -> Tensor:
        return entropy(logits.softmax(-1)).mean()

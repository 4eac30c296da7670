"""`SourceFree`: a strategy that trains on unlabelled target rows, under the head of the source, which is fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from fewshot.registry import spec_string
from fewshot.transfer.objective import Objective
from fewshot.transfer.strategies import Strategy
from fewshot.transfer.tuning import Tuning

if TYPE_CHECKING:
    from fewshot.transfer.settings import Settings


class SourceFree(Strategy):
    """What is trained by target rows alone, to make a `TargetObjective` small; the head does not move.

    Class attributes:
        statistics: whether batch norms, from which it takes the target's statistics, are all that it changes, so that
            the network must have some.
        schedule: of the rate.
        trains: whether there are any updates.
        setting: what it may see, one of `episodes.SETTINGS`.
    """

    statistics: ClassVar[bool] = True
    schedule: ClassVar[str] = "constant"
    trains: ClassVar[bool] = True
    setting: ClassVar[str] = "source-free"

    def minimised(self, how: Settings, rows: Any, labels: Tensor, device: torch.device) -> TargetObjective:
        """What its steps minimise.

        Args:
            how: the settings.
            rows: gives batches of target rows by index.
            labels: all 0, one for each row ``[M]``: nothing is known of them.
            device: of network and head.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define minimised(how, rows, labels, device).")

    def __repr__(self) -> str:
        return spec_string(self.name, self)


class TargetObjective(Objective):
    """What the steps of a source-free method minimise: a function of the logits of target rows."""

    def forward(self, tuning: Tuning, chosen: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Loss, and how sure the answers are: the mean probability of the predicted class."""
        logits = tuning(self.rows.take(chosen, self.device)).float()
        return self.loss(logits, chosen), logits.softmax(-1).amax(-1).mean()

    def loss(self, logits: Tensor, chosen: Tensor) -> Tensor:
        """Of a batch.

        Args:
            logits: ``[B, C]``.
            chosen: numbers of its rows ``[B]``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define loss(logits, chosen).")


def entropy(probabilities: Tensor) -> Tensor:
    """``-sum p log p`` over the last dimension."""
    return torch.special.entr(probabilities).sum(-1)

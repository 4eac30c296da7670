"""`Weighting`: how the losses of several tasks become one, and what of each reaches the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from fewshot.registry import spec_string

# (whether of the last trained stage alone) -> gradients of each L_t by parameter; empty where no network trains
Gradients = Callable[[bool], list[list[Tensor]]]


class Weighting(nn.Module):
    """``loss = sum_t s_t w_t L_t``: L the mean loss of a task's rows, s its share of the batch; here w = 1.

    A subclass is made with its arguments, and learns by `begin` how many tasks there are. Its parameters train at the
    rate of the heads; its buffers are kept in checkpoints. Tasks without rows in a batch are left out of it: all that
    follows is of the T' tasks that are present.

    Class attributes:
        name: in spec strings.
        compares: whether it compares gradients of the network.
    """

    name: ClassVar[str] = "equal"
    compares: ClassVar[bool] = False

    def begin(self, tasks: int) -> None:
        """Make parameters and buffers for so many tasks."""

    def factors(self, shares: Tensor, gradients: Gradients, key: tuple[int, int]) -> Tensor | None:
        """What the gradient of each ``s_t L_t`` is multiplied by where it enters the network ``[T']``; None: nothing.

        Args:
            shares: s ``[T']``, of sum 1.
            gradients: of each L.
            key: seed and step, from which all that is random is drawn.
        """
        return None

    def loss(self, losses: Tensor, shares: Tensor, present: Tensor) -> Tensor:
        """The loss of the step.

        Args:
            losses: L ``[T']``.
            shares: s ``[T']``.
            present: numbers of these tasks ``[T']``.
        """
        return (shares * losses).sum()

    def update(self, losses: Tensor, present: Tensor, gradients: Gradients) -> None:
        """Change the weights for the next step; arguments as above, losses without their graph."""

    def weights(self) -> Tensor | None:
        """Weights w of all tasks at present ``[T]``; None where all are 1."""
        return None

    def __repr__(self) -> str:
        return spec_string(self.name, self)

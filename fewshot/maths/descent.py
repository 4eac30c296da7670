"""The steps of gradient descent on a plain tensor, all episodes of a batch at once."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from fewshot.maths.adam import Adam

OPTIMIZERS = ("adam", "sgd")


class Descent(NamedTuple):
    """How to descend.

    Attributes:
        optimizer: ``"adam"`` or ``"sgd"``.
        steps: over the whole support.
        lr: of the first step, and of all where it does not fall.
        weight_decay: times the parameter, added to the gradient.
        momentum: of SGD.
        falling: the rate falls to zero along half a cosine.
    """

    optimizer: str
    steps: int
    lr: float
    weight_decay: float = 0.0
    momentum: float = 0.9
    falling: bool = False

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ValueError: an unknown optimizer, or a number out of range.
        """
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer={self.optimizer!r}; it must be 'adam' or 'sgd'.")
        if self.steps < 1 or self.lr <= 0 or self.weight_decay < 0:
            decay = f", weight_decay={self.weight_decay}" if self.weight_decay else ""
            raise ValueError(
                f"steps={self.steps}, lr={self.lr}{decay}; steps must be at least 1, the rate positive and the "
                "weight decay not negative."
            )


class Stepper:
    """The steps of one parameter under a `Descent`."""

    def __init__(self, like: Tensor, how: Descent) -> None:
        self.how, self.done = how, 0
        self.adam = Adam(like, how.lr) if how.optimizer == "adam" else None
        self.velocity = torch.zeros_like(like)

    def step(self, parameter: Tensor, gradient: Tensor) -> None:
        """Change the parameter in place."""
        how, lr = self.how, self.how.lr
        if how.falling:
            lr *= 0.5 * (1 + math.cos(math.pi * self.done / how.steps))
        self.done += 1
        if how.weight_decay:
            gradient = gradient + how.weight_decay * parameter
        if self.adam is not None:
            self.adam.step(parameter, gradient, lr)
        else:
            self.velocity.mul_(how.momentum).add_(gradient)
            parameter.sub_(self.velocity, alpha=lr)

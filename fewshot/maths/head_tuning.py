"""Gradient descent on a classifier of frozen features, for every episode of a batch at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fewshot.maths.adam import Adam
from fewshot.maths.linalg import product
from fewshot.maths.prototype_head import PrototypeHead, cross_entropy_gradient

OPTIMISERS = ("adam", "sgd")


class Descent(NamedTuple):
    """How to descend: ``"adam"`` or ``"sgd"``, steps over the whole support, rate, weight decay, momentum (of SGD)."""

    optimiser: str
    steps: int
    rate: float
    decay: float = 0.0
    momentum: float = 0.9

    def check(self) -> None:
        """Refuse settings that cannot work."""
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser={self.optimiser!r}; it must be 'adam' or 'sgd'.")
        if self.steps < 1 or self.rate <= 0 or self.decay < 0:
            raise ValueError(
                f"steps={self.steps}, rate={self.rate}, decay={self.decay}; steps must be at least 1, the rate "
                "positive and the decay not negative."
            )


class _Stepper:
    def __init__(self, like: Tensor, how: Descent) -> None:
        self.how = how
        self.adam = Adam(like, how.rate) if how.optimiser == "adam" else None
        self.velocity = torch.zeros_like(like)

    def step(self, parameter: Tensor, gradient: Tensor) -> None:
        if self.how.decay:
            gradient = gradient + self.how.decay * parameter
        if self.adam is not None:
            self.adam.step(parameter, gradient)
        else:
            self.velocity.mul_(self.how.momentum).add_(gradient)
            parameter.sub_(self.velocity, alpha=self.how.rate)


@torch.no_grad()
def tune_prototypes(
    weight: Tensor, rows: Tensor, one_hot: Tensor, absent: Tensor, metric: str, scale: float, how: Descent
) -> Tensor:
    """Class vectors ``[E, N, D]`` after minimising the support's mean cross-entropy under a metric."""
    weight = weight.clone()
    head = PrototypeHead(metric, scale, rows, absent)
    stepper = _Stepper(weight, how)
    for _ in range(how.steps):
        error = cross_entropy_gradient(head.logits(weight).softmax(-1), one_hot)
        stepper.step(weight, head.gradient(weight, error))
    return weight


@torch.no_grad()
def tune_linear(rows: Tensor, one_hot: Tensor, absent: Tensor, how: Descent) -> tuple[Tensor, Tensor]:
    """W ``[E, N, D]`` and b ``[E, N]`` of a linear classifier, from zero, likewise; b does not decay."""
    episodes, _, width = rows.shape
    weight, bias = rows.new_zeros(episodes, one_hot.shape[-1], width), rows.new_zeros(absent.shape)
    steppers = _Stepper(weight, how), _Stepper(bias, how._replace(decay=0.0))
    for _ in range(how.steps):
        logits = (product(rows, weight.mT) + bias.unsqueeze(1)).masked_fill(absent.unsqueeze(1), -torch.inf)
        error = cross_entropy_gradient(logits.softmax(-1), one_hot)  # [E, S, N]
        steppers[0].step(weight, product(error.mT, rows))
        steppers[1].step(bias, error.sum(1))
    return weight, bias

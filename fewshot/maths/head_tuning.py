"""Gradient descent on a classifier of frozen features, for every episode of a batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.maths.descent import Descent, Stepper
from fewshot.maths.linalg import product
from fewshot.maths.prototype_head import PrototypeHead, cross_entropy_gradient


@torch.no_grad()
def tune_prototypes(
    weight: Tensor, rows: Tensor, one_hot: Tensor, absent: Tensor, metric: str, scale: float, how: Descent
) -> Tensor:
    """Class vectors ``[E, N, D]`` after minimising the support's mean cross-entropy under a metric."""
    weight = weight.clone()
    head = PrototypeHead(metric, scale, rows, absent)
    stepper = Stepper(weight, how)
    for _ in range(how.steps):
        error = cross_entropy_gradient(head.logits(weight).softmax(-1), one_hot)
        stepper.step(weight, head.gradient(weight, error))
    return weight


@torch.no_grad()
def tune_linear(rows: Tensor, one_hot: Tensor, absent: Tensor, how: Descent) -> tuple[Tensor, Tensor]:
    """W ``[E, N, D]`` and b ``[E, N]`` of a linear classifier, from zero, likewise; b does not decay."""
    episodes, _, width = rows.shape
    weight, bias = rows.new_zeros(episodes, one_hot.shape[-1], width), rows.new_zeros(absent.shape)
    steppers = Stepper(weight, how), Stepper(bias, how._replace(weight_decay=0.0))
    for _ in range(how.steps):
        logits = (product(rows, weight.mT) + bias.unsqueeze(1)).masked_fill(absent.unsqueeze(1), -torch.inf)
        error = cross_entropy_gradient(logits.softmax(-1), one_hot)  # [E, S, N]
        steppers[0].step(weight, product(error.mT, rows))
        steppers[1].step(bias, error.sum(1))
    return weight, bias

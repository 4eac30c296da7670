"""Gradient descent on a classifier of frozen features, for every episode of a batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.maths.descent import Descent, Stepper
from fewshot.maths.linalg import product
from fewshot.maths.prototype_head import PrototypeHead, cross_entropy_terms


@torch.no_grad()
def tune_prototypes(
    weight: Tensor, rows: Tensor, one_hot: Tensor, absent: Tensor, metric: str, scale: float, how: Descent
) -> Tensor:
    """Class vectors ``[E, N, D]`` after minimising the support's mean cross-entropy under a metric."""
    weight = weight.clone()
    head = PrototypeHead(metric, scale, rows, absent, weight)
    stepper = Stepper(weight, how)
    terms, shares = cross_entropy_terms(one_hot)
    for _ in range(how.steps):
        scored = head.score(weight)
        error = torch.addcmul(terms, scored.logits.softmax(1), shares)  # [E, N, S]
        stepper.step(weight, head.gradient(weight, error, scored))
    return weight


@torch.no_grad()
def tune_linear(rows: Tensor, one_hot: Tensor, absent: Tensor, how: Descent) -> tuple[Tensor, Tensor]:
    """W ``[E, N, D]`` and b ``[E, N]`` of a linear classifier, from zero, likewise; b does not decay."""
    episodes, _, width = rows.shape
    weight, bias = rows.new_zeros(episodes, one_hot.shape[-1], width), rows.new_zeros(absent.shape)
    steppers = Stepper(weight, how), Stepper(bias, how._replace(weight_decay=0.0))
    terms, shares = cross_entropy_terms(one_hot)
    gone = torch.zeros_like(bias).masked_fill(absent, -torch.inf)
    for _ in range(how.steps):
        logits = product(weight, rows.mT) + (bias + gone).unsqueeze(-1)  # [E, N, S]
        error = torch.addcmul(terms, logits.softmax(1), shares)
        steppers[0].step(weight, product(error, rows))
        steppers[1].step(bias, error.sum(-1))
    return weight, bias

"""The optimum of L2-regularised softmax regression, for many small problems at once."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from fewshot.linalg import product

_LOG = logging.getLogger("fewshot")
_TOLERANCE = 1e-5  # a Newton step that moves no decision value further than this is the last
_FORCING = 0.05  # share of the gradient that an inexact Newton step may leave
_MOST_STEPS = 100  # Newton steps; usual are 4 to 15
_MOST_INNER = 1000  # conjugate gradient steps within one of them; usual are 2 to 10
_MOST_HALVINGS = 30  # of a step that goes too far
_ABSENT = -1e30  # logit of a class without examples: its probability is 0, and nothing becomes NaN


@torch.no_grad()
def softmax_regression(rows: Tensor, target: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """Minimise ``½ |W|² + strength Σ_s cross_entropy(W x_s + b, y_s)`` by an inexact Newton method.

    Where there are fewer rows than features, it works in coordinates of their span. A problem that has
    converged is left alone, so its result does not depend on the others; one that has not after 100 steps
    keeps the best point found, and a warning is logged.

    Args:
        rows: examples, preferably centred, which only b depends on ``[E, S, D]``; float64 (float32 reaches
            three digits).
        target: one-hot labels, zero where the row is padding ``[E, N, S]``.
        strength: weight of the data against the penalty ``[E, 1, 1]``.

    Returns:
        W ``[E, N, D]`` and b ``[E, N, 1]``; b is not penalised, and fixed up to a constant.
    """
    mask = target.sum(1, keepdim=True)  # [E, 1, S]
    if rows.shape[1] > rows.shape[2]:
        solution = _minimise(rows * mask.mT, target, strength)  # [E, N, D + 1]
        return solution[..., :-1], solution[..., -1:]
    # Rows of a Cholesky factor have the same inner products as the rows themselves: D becomes S.
    gram = (rows @ rows.mT) * mask * mask.mT  # [E, S, S]
    diagonal = gram.diagonal(dim1=1, dim2=2)  # [E, S]
    spread = diagonal.sum(-1, keepdim=True)  # [E, 1]
    smallest = torch.finfo(gram.dtype).tiny ** 0.5
    diagonal.add_(500 * torch.finfo(gram.dtype).eps * spread + smallest)  # duplicate rows make it singular
    factor = torch.linalg.cholesky_ex(gram).L  # [E, S, S]
    solution = _minimise(factor, target, strength)  # [E, N, S + 1]
    shares = torch.linalg.solve_triangular(factor, solution[..., :-1], upper=False, left=False)  # [E, N, S]
    return product(shares * mask, rows), solution[..., -1:]


def _minimise(coordinates: Tensor, target: Tensor, strength: Tensor) -> Tensor:
    rows = with_intercept(coordinates)  # [E, S, R + 1]
    columns = rows.mT.contiguous()  # [E, R + 1, S]
    mask = target.sum(1, keepdim=True)  # [E, 1, S]
    reach = coordinates.square().sum(-1).amax(-1).sqrt()  # [E], the longest row
    eps = torch.finfo(rows.dtype).eps
    tolerance = max(_TOLERANCE, 1e4 * eps)

    def loss_at(solution: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = product(solution, columns)  # [E, N, S]
        log_p = log_probability(logits, target)
        penalty = solution[..., :-1].square().sum((1, 2), keepdim=True) / 2
        loss = penalty - strength * (target * log_p).sum((1, 2), keepdim=True)  # [E, 1, 1]
        # What the loss may be off by: it is a small difference of large logits, times the strength.
        rounding = 4 * eps * (loss + strength * logits.abs().amax(1, keepdim=True).sum(2, keepdim=True))
        return log_p, loss, rounding

    solution = rows.new_zeros(rows.shape[0], target.shape[1], rows.shape[2])  # [E, N, R + 1]
    log_p, loss, rounding = loss_at(solution)
    active = torch.ones_like(loss, dtype=torch.bool)  # [E, 1, 1]
    for _ in range(_MOST_STEPS):
        p = log_p.exp() * mask  # [E, N, S]
        downhill = loss_gradient(solution, rows, p, target, strength) * -active.to(rows.dtype)
        step = inverse_hessian(rows, p, strength, downhill, _FORCING)  # [E, N, R + 1]
        gain = (downhill * step).sum((1, 2), keepdim=True)
        length = active.to(rows.dtype)
        for _ in range(_MOST_HALVINGS):
            trial = torch.addcmul(solution, length, step)
            log_p, trial_loss, trial_rounding = loss_at(trial)
            too_far = trial_loss > loss - 1e-4 * length * gain + rounding + trial_rounding
            if not too_far.any():
                break
            length = torch.where(too_far, length / 2, length)
        solution, loss, rounding = trial, trial_loss, trial_rounding
        moved = step[..., :-1].square().sum((1, 2)).sqrt() * reach + step[..., -1].abs().amax(-1)  # [E]
        active = active & (moved > tolerance).view(-1, 1, 1)
        if not active.any():
            return solution
    _LOG.warning(
        "logistic regression: %d of %d episodes had not converged after %d Newton steps; "
        "a smaller C or normalised features (such as 'l2 | logistic') converge faster.",
        int(active.sum()), len(active), _MOST_STEPS,
    )  # fmt: skip
    return solution


def with_intercept(rows: Tensor) -> Tensor:
    """Rows with a feature that is always one ``[..., D] -> [..., D + 1]``."""
    return torch.cat([rows, torch.ones_like(rows[..., :1])], dim=-1)


def log_probability(logits: Tensor, target: Tensor) -> Tensor:
    """Log-softmax over the classes that have examples ``[E, N, S] -> [E, N, S]``."""
    absent = ~target.any(-1, keepdim=True)  # [E, N, 1]
    return logits.masked_fill(absent, _ABSENT).log_softmax(1)


def loss_gradient(solution: Tensor, rows: Tensor, p: Tensor, target: Tensor, strength: Tensor) -> Tensor:
    """Derivative of penalty and loss, with the probabilities `p` at `solution` ``[E, N, D + 1]``."""
    return solution * _penalised(rows) + product(strength * (p - target), rows)


@torch.no_grad()
def inverse_hessian(rows: Tensor, p: Tensor, strength: Tensor, right: Tensor, share: float) -> Tensor:
    """Solve ``H x = right`` ``[E, N, D + 1]`` by preconditioned conjugate gradients.

    H is the Hessian of penalty and loss where the probabilities are `p` (zero for padding). Each episode
    stops when `share` of its right side is left.
    """
    columns = rows.mT.contiguous()  # [E, D + 1, S]
    weighted = strength * p  # [E, N, S]
    penalised = _penalised(rows)
    diagonal = product(weighted * (1 - p), rows.square()) + penalised
    scale = torch.where(diagonal > 0, diagonal.reciprocal(), 0.0)  # [E, N, D + 1]
    rest = right
    solved = torch.zeros_like(right)
    direction = scaled = rest * scale
    size = (rest * scaled).sum((1, 2), keepdim=True)  # [E, 1, 1]
    enough = size * share**2
    for _ in range(_MOST_INNER):
        slopes = product(direction, columns)  # [E, N, S]
        slopes = slopes - (p * slopes).sum(1, keepdim=True)
        image = product(weighted * slopes, rows) + direction * penalised  # [E, N, D + 1]
        curved = (direction * image).sum((1, 2), keepdim=True)
        # Along a flat direction (the same constant on every b) there is nothing to gain, only rounding.
        flat = curved <= 1e-12 * (direction.square() * diagonal).sum((1, 2), keepdim=True)
        length = torch.where((size > enough) & ~flat, size / curved, 0.0)
        solved = torch.addcmul(solved, length, direction)
        rest = torch.addcmul(rest, length, image, value=-1)
        scaled = rest * scale
        previous, size = size, (rest * scaled).sum((1, 2), keepdim=True)
        if not (size > enough).any():
            break
        direction = torch.addcmul(scaled, torch.where(previous > 0, size / previous, 0.0), direction)
    return solved


def _penalised(rows: Tensor) -> Tensor:
    """One for each weight, zero for the intercept ``[D + 1]``."""
    penalised = torch.ones_like(rows[0, 0]) if rows.numel() else rows.new_ones(rows.shape[-1])
    penalised[-1] = 0
    return penalised

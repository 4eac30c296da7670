"""The optimum of L2-regularised softmax regression, for many small problems at once."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.maths.convergence import warn_unconverged
from fewshot.maths.linalg import product

_TOLERANCE = 1e-5  # of decision values
_FORCING = 0.05  # share of the gradient that an inexact Newton step may leave
_MOST_STEPS = 100  # Newton steps; usual are 4 to 15
_MOST_INNER = 1000  # conjugate gradient steps within one of them; usual are 2 to 10
_LOOK_EVERY = 8  # conjugate gradient steps on an accelerator, which looking at a value stalls; more change nothing
_MOST_HALVINGS = 30  # of a step that goes too far
_FARTHEST = 10.0  # that a step moves a decision value: beyond, probabilities are 0 or 1 and show no way back
_ABSENT = -1e30  # logit of a class without examples: its probability is 0, and nothing becomes NaN


@torch.no_grad()
def softmax_regression(
    rows: Tensor,
    target: Tensor,
    strength: Tensor,
    tolerance: float = _TOLERANCE,
    *,
    tentative: bool = False,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Minimise ``½ |W|² + strength Σ_s cross_entropy(W x_s + b, y_s)`` by an inexact Newton method.

    Where there are fewer rows than features, it works in coordinates of their span. A problem that has
    converged is left alone, so its result does not depend on the others; one that has not after 100 steps
    keeps the best point found, and a `ConvergenceWarning` says so.

    Args:
        rows: examples, preferably centred, which only b depends on ``[E, S, D]``; float64 (float32 reaches
            three digits).
        target: one-hot labels, zero where the row is padding ``[E, N, S]``.
        strength: weight of the data against the penalty ``[E, 1, 1]``, or of each row ``[E, 1, S]``.
        tolerance: a Newton step that moves no decision value further than this is the last.
        tentative: the answer only helps to choose a strength, so no warning is given.
        start: W and b to begin with, such as those for another strength; zeros by default.

    Returns:
        W ``[E, N, D]`` and b ``[E, N, 1]``; b is not penalised, and fixed up to a constant.
    """
    mask = target.sum(1, keepdim=True)  # [E, 1, S]
    if rows.shape[1] > rows.shape[2]:
        begin = None if start is None else torch.cat(start, -1)
        solution = _minimise(rows * mask.mT, target, strength, tolerance, tentative, begin)  # [E, N, D + 1]
        return solution[..., :-1], solution[..., -1:]
    # Rows of a Cholesky factor have the same inner products as the rows themselves: D becomes S.
    gram = (rows @ rows.mT) * mask * mask.mT  # [E, S, S]
    diagonal = gram.diagonal(dim1=1, dim2=2)  # [E, S]
    spread = diagonal.sum(-1, keepdim=True)  # [E, 1]
    smallest = torch.finfo(gram.dtype).tiny ** 0.5
    diagonal.add_(500 * torch.finfo(gram.dtype).eps * spread + smallest)  # duplicate rows make it singular
    factor = torch.linalg.cholesky_ex(gram).L  # [E, S, S]
    begin = None
    if start is not None:  # the coordinates that give the same decision values
        values = (rows @ start[0].mT) * mask.mT  # [E, S, N]
        begin = torch.cat([torch.linalg.solve_triangular(factor, values, upper=False).mT, start[1]], -1)
    solution = _minimise(factor, target, strength, tolerance, tentative, begin)  # [E, N, S + 1]
    shares = torch.linalg.solve_triangular(factor, solution[..., :-1], upper=False, left=False)  # [E, N, S]
    return product(shares * mask, rows), solution[..., -1:]


class SoftmaxProblem:
    """Penalised cross-entropy of linear logits, with its first and second derivatives.

    Args:
        rows: examples, zero where they are padding ``[E, S, D]``; they get an intercept.
        target: one-hot labels, zero where the row is padding ``[E, N, S]``.
        strength: weight of the data against the penalty ``[E, 1, 1]``, or of each row ``[E, 1, S]``.
    """

    def __init__(self, rows: Tensor, target: Tensor, strength: Tensor) -> None:
        self.rows = torch.cat([rows, torch.ones_like(rows[..., :1])], dim=-1)  # [E, S, D + 1]
        self.columns = self.rows.mT.contiguous()  # [E, D + 1, S]
        self.target, self.strength = target, strength
        self.mask = target.sum(1, keepdim=True)  # [E, 1, S]
        self.absent = target.sum(-1, keepdim=True) == 0  # [E, N, 1]
        self.penalised = torch.ones_like(self.rows[0, 0])  # [D + 1], the intercept is not
        self.penalised[-1] = 0

    def loss(self, solution: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities ``[E, N, S]``, the loss and what rounding may add to it ``[E, 1, 1]``."""
        logits = product(solution, self.columns)  # [E, N, S]
        log_p = logits.masked_fill(self.absent, _ABSENT).log_softmax(1)
        penalty = (solution.square() * self.penalised).sum((1, 2), keepdim=True) / 2
        loss = penalty - (self.strength * self.target * log_p).sum((1, 2), keepdim=True)
        # A small difference of large logits, times the strength.
        largest = logits.abs().amax((1, 2), keepdim=True) * self.strength.amax(-1, keepdim=True) * logits.shape[2]
        return log_p.exp() * self.mask, loss, 4 * torch.finfo(loss.dtype).eps * (loss + largest)

    def gradient(self, solution: Tensor, p: Tensor) -> Tensor:
        """Derivative of the loss where the probabilities are `p` ``[E, N, D + 1]``."""
        return product(self.strength * (p - self.target), self.rows) + solution * self.penalised

    @torch.no_grad()
    def inverse_hessian(self, p: Tensor, right: Tensor, share: float) -> Tensor:
        """Solve ``H x = right`` ``[E, N, D + 1]`` by preconditioned conjugate gradients.

        H is the second derivative where the probabilities are `p`. Each episode stops when `share` of its
        right side is left.
        """
        weighted = self.strength * p  # [E, N, S]
        diagonal = product(weighted * (1 - p), self.rows.square()) + self.penalised
        scale = torch.where(diagonal > 0, 1 / diagonal, 0.0)  # [E, N, D + 1]
        # A constant added to every intercept changes no probability: H is zero there, rounding errors are not.
        present = (~self.absent).to(right.dtype)  # [E, N, 1]
        excess = (right[..., -1:] * present).sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp(min=1)
        rest = right - excess * present * (1 - self.penalised)
        solved = torch.zeros_like(right)
        direction = scaled = rest * scale
        size = (rest * scaled).sum((1, 2), keepdim=True)  # [E, 1, 1]
        enough = size * share**2
        look_every = 1 if right.device.type == "cpu" else _LOOK_EVERY
        for count in range(1, _MOST_INNER + 1):
            slopes = product(direction, self.columns)  # [E, N, S]
            slopes = slopes - (p * slopes).sum(1, keepdim=True)
            image = product(weighted * slopes, self.rows) + direction * self.penalised  # [E, N, D + 1]
            curvature = (direction * image).sum((1, 2), keepdim=True)
            length = torch.where((size > enough) & (curvature > 0), size / curvature, 0.0)
            solved = torch.addcmul(solved, length, direction)
            rest = torch.addcmul(rest, length, image, value=-1)
            scaled = rest * scale
            previous, size = size, (rest * scaled).sum((1, 2), keepdim=True)
            if count % look_every == 0 and not (size > enough).any():
                break
            direction = torch.addcmul(scaled, torch.where(previous > 0, size / previous, 0.0), direction)
        return solved


def _minimise(
    coordinates: Tensor, target: Tensor, strength: Tensor, tolerance: float, tentative: bool, start: Tensor | None
) -> Tensor:
    """Weights and, in the last column, intercepts ``[E, N, R + 1]``."""
    problem = SoftmaxProblem(coordinates, target, strength)
    longest = coordinates.square().sum(-1).amax(-1).sqrt()  # [E], the longest row
    tolerance = max(tolerance, 1e4 * torch.finfo(coordinates.dtype).eps)
    solution = coordinates.new_zeros(len(target), target.shape[1], problem.rows.shape[2])  # [E, N, R + 1]
    solution = solution if start is None else start
    p, loss, rounding = problem.loss(solution)
    active = torch.ones_like(loss)  # [E, 1, 1], zero for a problem that has converged
    for _ in range(_MOST_STEPS):
        downhill = problem.gradient(solution, p) * -active
        step = problem.inverse_hessian(p, downhill, _FORCING)  # [E, N, R + 1]
        gain = (downhill * step).sum((1, 2), keepdim=True)
        change = product(step, problem.columns).abs().amax((1, 2), keepdim=True)  # [E, 1, 1], of decision values
        length = active * (_FARTHEST / change.clamp(min=_FARTHEST))
        for _ in range(_MOST_HALVINGS):
            trial = torch.addcmul(solution, length, step)
            p, trial_loss, trial_rounding = problem.loss(trial)
            too_far = trial_loss > loss - 1e-4 * length * gain + rounding + trial_rounding
            if not too_far.any():
                break
            length = torch.where(too_far, length / 2, length)
        else:  # no part of the step leads down: stay
            trial = torch.where(too_far, solution, trial)
            p, trial_loss, trial_rounding = problem.loss(trial)
        solution, loss, rounding = trial, trial_loss, trial_rounding
        moved = step[..., :-1].square().sum((1, 2)).sqrt() * longest + step[..., -1].abs().amax(-1)  # [E]
        active = active * (moved > tolerance).view(-1, 1, 1)
        if not active.any():
            return solution
    remedy = "lower C, or normalise the features (such as 'l2 | logistic')"
    if not tentative:
        warn_unconverged("logistic regression", active, _MOST_STEPS, remedy)
    return solution

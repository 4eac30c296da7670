"""Crammer and Singer's support vector machine: the solution of its dual, and the derivative of that."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.convergence import warn_unconverged
from fewshot.maths.linalg import product
from fewshot.maths.simplex import onto_simplex

_LOOK_EVERY = 20  # projected steps between duality gaps
_NEAR = 1e-3  # gap from which on Newton's method is tried
_ZERO = 1e-9  # of C: a share below it counts for nothing
_ROUNDING = 1e-5  # of C: a share below it may be rounding of float32
_SPAN = 0.3  # of the mean square of the rows, what a step of the others costs; chosen by benchmarks/defaults.py
_HULL = 100.0  # of it, that their coefficients sum to one
_SOLVE = 300  # steps of conjugate gradients
_LARGE = 2**17  # shares of an episode from which on it is solved alone, and first steps are taken in float32


class SVMState(NamedTuple):
    """One vector per class."""

    weight: Tensor  # [E, N, D]
    absent: Tensor  # [E, N]


def check(C: float, gap: float, steps: int) -> None:
    """Refuse arguments out of range.

    Raises:
        ValueError: one is.
    """
    if not C > 0 or not gap > 0 or steps < 1:
        raise ValueError(f"C={C}, gap={gap}, steps={steps}; C and gap must be positive, steps at least 1.")


def fit(episode: Support, C: float, gap: float, steps: int) -> SVMState:
    """``W = Σ_s (C y_s - b_s) x_sᵀ`` of each episode, differentiable by the support."""
    rows, signed, _, present = solve(episode, C, gap, steps)
    return SVMState(product(signed.mT, rows).to(episode.support.dtype), ~present)


class Solution(NamedTuple):
    """What each support row contributes."""

    rows: Tensor  # [E, S, D], zero for padding; in float64
    signed: Tensor  # [E, S, N], C y - b
    known: Tensor  # [E, S, 1], 0 for padding
    present: Tensor  # [E, N]


def solve(episode: Support, C: float, gap: float, steps: int) -> Solution:
    """Solve the dual of each episode."""
    one_hot = episode.one_hot
    known = one_hot.sum(-1, keepdim=True)  # [E, S, 1]
    present = one_hot.any(1, keepdim=True)  # [E, 1, N]
    exact = torch.float32 if one_hot.device.type == "mps" else torch.float64
    rows = torch.where(known > 0, episode.support, torch.zeros_like(episode.support)).to(exact)  # [E, S, D]
    target, allowed = one_hot.to(exact), (known > 0) & present
    gram = Gram(rows) if rows.shape[1] > rows.shape[2] else Gram(product(rows, rows.mT), True)
    problem = Dual(gram, target, allowed, C)
    shares = solve_dual(problem, gap, steps)
    if rows.requires_grad:
        shares = follow(problem, shares)
    return Solution(rows, C * target - shares, known.to(exact), present.squeeze(1))


@torch.no_grad()
def held_out(solution: Solution) -> Tensor:
    """Scores ``W_(-s) x_s`` of each support row by the machine without it, nearly ``[E, S, N]``.

    ``W x_s - r_s (C y_s - b_s)``: without the row its own term is gone, and the others make up for what of it they can.
    What they cannot is r, its squared distance from the affine hull of the others, where a step of theirs costs 0.3 of
    the mean square of the rows: ``1 / (H⁻¹)_ss - λ`` with ``H = G + λ I + c 11ᵀ`` and a large c. No machine is fitted
    for it, as the span bound does, which supposes that shares of the others stay between their limits.

    Reference: Vapnik, Chapelle, "Bounds on error expectation for support vector machines", Neural Computation 2000.
    """
    rows, signed, known, _ = solution
    size = rows.square().sum((1, 2), keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)  # [E, 1, 1]
    size = torch.where(size > 0, size, torch.ones_like(size))
    augmented = torch.cat([rows, (_HULL * size).sqrt() * known], -1)  # [E, S, D + 1]
    penalty = _SPAN * size
    count, width = augmented.shape[1:]
    few = count <= width
    matrix = product(augmented, augmented.mT) if few else product(augmented.mT, augmented)
    matrix = matrix + penalty * torch.eye(len(matrix[0]), dtype=rows.dtype, device=rows.device)
    if few:
        apart = 1 / torch.linalg.inv(matrix).diagonal(dim1=1, dim2=2).unsqueeze(-1) - penalty  # [E, S, 1]
    else:
        lever = (augmented * torch.linalg.solve(matrix, augmented.mT).mT).sum(-1, keepdim=True)  # [E, S, 1]
        apart = penalty * lever / (1 - lever)
    return product(rows, product(signed.mT, rows).mT) - apart.clamp(min=0) * signed


def decide(state: SVMState, query: Tensor, scale: Tensor | float) -> Tensor:
    """``scale W q`` ``[E, Q, N]``."""
    logits = scale * product(query, state.weight.mT)
    return logits.masked_fill(state.absent.unsqueeze(1), -torch.inf)


class Gram(NamedTuple):
    """Inner products G of support rows, as they are, or as the rows themselves where those are fewer numbers."""

    matrix: Tensor  # [E, S, S], or rows [E, S, D]; zero for padding
    formed: bool = False

    def of(self, part: Tensor) -> Gram:
        """Those of some episodes."""
        return self._replace(matrix=self.matrix[part])

    def times(self, other: Tensor) -> Tensor:
        """``G other`` ``[E, S, N]``."""
        if self.formed:
            return product(self.matrix, other)
        return product(self.matrix, product(self.matrix.mT, other))

    def largest(self) -> Tensor:
        """A bound of the largest eigenvalue, at most 1.6 times as large ``[E, 1, 1]``: ``|A^16|^(1/16)``, Frobenius."""
        power = self.matrix if self.formed else product(self.matrix.mT, self.matrix)
        logarithm = torch.zeros_like(power[:, :1, :1])
        for doubling in range(5):
            size = torch.linalg.matrix_norm(power, keepdim=True).clamp(min=1e-150)
            logarithm = logarithm + size.log() / 2**doubling
            if doubling < 4:
                power = power / size
                power = product(power, power)
        return logarithm.exp()


class Dual(NamedTuple):
    """``min ½ tr((Cy - b)ᵀ G (Cy - b)) - Σ (1 - y) b`` over b whose rows lie on simplices of size C.

    Attributes:
        gram: G, products of support rows.
        target: y, one-hot labels ``[E, S, N]``; zero for padding.
        allowed: where a share may be positive ``[E, S, N]``: real rows, classes that have one.
        C: weight of the losses.
    """

    gram: Gram
    target: Tensor
    allowed: Tensor
    C: float

    def of(self, part: Tensor) -> Dual:
        """The problem of some episodes."""
        return Dual(self.gram.of(part), self.target[part], self.allowed[part], self.C)

    def slope(self, shares: Tensor) -> Tensor:
        """Derivative by the shares ``[E, S, N]``."""
        return -self.gram.times(self.C * self.target - shares) - (1 - self.target)

    def single(self) -> Dual:
        """The same problem in float32."""
        return self._replace(gram=self.gram._replace(matrix=self.gram.matrix.float()), target=self.target.float())

    def onto(self, shares: Tensor) -> Tensor:
        """The nearest shares that are possible."""
        real = self.allowed.any(-1, keepdim=True)
        return onto_simplex(shares.masked_fill(~self.allowed, -torch.inf), self.C) * real

    def gap(self, shares: Tensor) -> Tensor:
        """Duality gap relative to the primal value, less what rounding of the scores may make of it ``[E]``."""
        signed = self.C * self.target - shares
        scores = self.gram.times(signed)
        square = (signed * scores).sum((1, 2))
        margins = scores + 1 - self.target - (scores * self.target).sum(-1, keepdim=True)
        losses = margins.masked_fill(~self.allowed, -torch.inf).amax(-1)
        primal = square / 2 + self.C * losses.where(self.allowed.any(-1), 0).sum(-1)
        dual = ((1 - self.target) * shares).sum((1, 2)) - square / 2
        size = (1 + scores.abs().amax((1, 2))) * self.allowed.any(-1).sum(-1)
        rounding = 8 * torch.finfo(scores.dtype).eps * self.C * size
        return (primal - dual - rounding) / primal.clamp(min=1e-30)


@torch.no_grad()
def solve_dual(problem: Dual, gap: float, steps: int) -> Tensor:
    """The shares b ``[E, S, N]``, by accelerated projected gradient.

    Whenever the gap has fallen to a tenth, a Newton step on the face where the shares lie is tried; on the right face
    it is exact. An episode ends when its relative duality gap is at most `gap`, so it does not depend on the others;
    for one that does not reach it, a `ConvergenceWarning` is given.

    A large problem takes its steps in float32 until it is near, and gaps and Newton steps in float64.
    """
    exact, large = problem.target.dtype, problem.target[0].numel() >= _LARGE
    if large and len(problem.target) > 1:
        parts = [problem.of(torch.tensor([e], device=problem.target.device)) for e in range(len(problem.target))]
        return torch.cat([solve_dual(part, gap, steps) for part in parts])
    gap = max(gap, 1e3 * torch.finfo(exact).eps)
    shares = problem.C * problem.target  # W = 0
    active = torch.arange(len(shares), device=shares.device)
    part, walk = problem, problem.single() if large else problem
    point = ahead = walk.C * walk.target
    step = 1 / problem.gram.largest().clamp(min=1e-30).to(point.dtype)  # bounds the curvature
    momentum = point.new_ones(len(shares), 1, 1)
    below = shares.new_full((len(shares),), _NEAR)  # gap at which it is tried next
    for count in range(1, steps + 1):
        moved = walk.onto(ahead - step * walk.slope(ahead))
        # Momentum that points uphill is dropped: the steps converge linearly once the active set stands.
        uphill = ((ahead - moved) * (moved - point)).sum((1, 2), keepdim=True) > 0
        momentum = torch.where(uphill, torch.ones_like(momentum), momentum)
        following = (1 + (1 + 4 * momentum**2).sqrt()) / 2
        ahead = moved + torch.where(uphill, 0.0, (momentum - 1) / following) * (moved - point)
        point, momentum = moved, following
        if count % _LOOK_EVERY and count < steps:
            continue
        found = point
        if walk is not part:
            found = part.onto(point.to(exact).masked_fill(point < _ROUNDING * part.C, -torch.inf))
        left = part.gap(found)
        near = (left < below) | (count == steps)
        if near.any():
            found, left = _newton(part.of(near), found, left, near)
            below = torch.where(near, 0.1 * left, below)
            if walk is not part:
                walk, point, ahead = part, found, found
                step, momentum = step.to(exact), torch.ones_like(momentum, dtype=exact)
        shares[active] = found
        going = (left > gap).nonzero().squeeze(1)
        if len(going) == 0:
            break
        if count == steps:
            unfinished = torch.zeros(len(shares), dtype=torch.bool, device=shares.device)
            unfinished[active[going]] = True
            warn_unconverged("support vector machine", unfinished, steps, "raise steps or gap, or lower C")
        if len(going) < len(active):
            active, part, step, below = active[going], part.of(going), step[going], below[going]
            walk = part
            point, ahead, momentum = point[going], ahead[going], momentum[going]
    return shares


def _newton(part: Dual, point: Tensor, left: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    """A Newton step of the episodes that are near, where it helps; and the gaps."""
    here = point[near]
    there = part.onto(here - _Face(part, here).solve(part.slope(here)))
    after = part.gap(there)
    better = after < left[near]
    found, rest = point.clone(), left.clone()
    found[near] = torch.where(better.view(-1, 1, 1), there, here)
    rest[near] = torch.where(better, after, left[near])
    return found, rest


def follow(problem: Dual, shares: Tensor) -> Tensor:
    """The solution as a function of G, so that gradients go through it.

    On its face (which shares are positive, and each row's sum) a small change of G moves the solution by the
    Newton step of the slope it causes; so the implicit derivative is one linear system with that step's matrix,
    solved by conjugate gradients, whatever led to the solution.

    Reference: Amos, Kolter, "OptNet: differentiable optimization as a layer in neural networks", ICML 2017,
    arXiv:1703.00443.
    """
    followed: Tensor = _Implicit.apply(problem.slope(shares), shares, _Face(problem, shares))
    return followed


class _Face:
    """The face of the simplices on which shares lie, and its curvature ``P G P``."""

    def __init__(self, problem: Dual, shares: Tensor) -> None:
        self.gram = problem.gram._replace(matrix=problem.gram.matrix.detach())
        self.free = problem.allowed & (shares > _ZERO * problem.C)

    def along(self, values: Tensor) -> Tensor:
        """P: what of a direction stays on the face."""
        kept = values.where(self.free, 0.0)
        return (kept - kept.sum(-1, keepdim=True) / self.free.sum(-1, keepdim=True).clamp(min=1)).where(self.free, 0.0)

    def solve(self, right: Tensor) -> Tensor:
        """``(P G P)⁺ P right`` by conjugate gradients, all episodes at once."""
        residual = self.along(right)
        found, direction = torch.zeros_like(residual), residual
        square = residual.square().sum((1, 2), keepdim=True)
        # Below the second term there is only the rounding of P, some of it where P G P is zero.
        enough = 1e-26 * square + 1e-28 * right.square().sum((1, 2), keepdim=True)
        for count in range(1, _SOLVE + 1):
            changed = self.along(self.gram.times(direction))
            curvature = (direction * changed).sum((1, 2), keepdim=True)
            length = torch.where((square > enough) & (curvature > 0), square / curvature.clamp(min=1e-300), 0.0)
            found = found + length * direction
            residual = residual - length * changed
            following = residual.square().sum((1, 2), keepdim=True)
            direction = torch.where(length > 0, residual + following / square.clamp(min=1e-300) * direction, 0.0)
            square = following
            if count % _LOOK_EVERY == 0 and not bool((square > enough).any()):
                break
        return found


class _Implicit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, slope: Tensor, shares: Tensor, face: _Face) -> Tensor:
        ctx.face = face
        return shares.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return -ctx.face.solve(gradient), None, None

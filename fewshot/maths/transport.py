"""Entropic optimal transport from queries to classes, for many episodes at once."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.maths.convergence import warn_unconverged

_LONGEST = 2.0  # a Newton step may change no log-scaling by more: beyond, the curvature is another one
_OVERSHOT = 0.25  # share of its slope that a Newton step may have against it where it ends
_ANEW = 25  # steps after which exponentials are taken again: until then scalings move by less than e^50
_STEPS = 500


@torch.no_grad()
def transport(
    cost: Tensor,
    columns: Tensor,
    sharpness: float,
    tolerance: float,
    start: Tensor | None = None,
    *,
    tightness: float | None = None,
    what: str = "pt-map",
    remedy: str = "raise marginal_tolerance, or lower sharpness",
) -> tuple[Tensor, Tensor]:
    """The plan that gives each query once and each class its sum, cheapest up to its entropy.

    ``P_nq = softmax_n(g_n - sharpness cost_nq)`` sums to 1 over classes for any g; the g that gives the classes
    their sums maximises the concave ``Σ_n c_n g_n - Σ_q log Σ_n exp(g_n - sharpness cost_nq)``, a problem in N
    numbers. Newton's method solves it in a dozen steps where alternating scaling (Sinkhorn-Knopp), the usual
    way to the same plan, takes hundreds to thousands; a step that would go wrong is replaced by one of scaling,
    which never does.

    With a `tightness` τ the sums may differ from those asked for, at a price of ``τ Σ_n s_n log(s_n / c_n)``: then
    ``s_n = c_n exp(-g_n / τ)``, and ``c_n g_n`` in the dual becomes ``-τ c_n exp(-g_n / τ)``.

    An episode that is done is left alone, so its plan does not depend on the others; one that is not after 500 steps
    keeps the plan found, and a `ConvergenceWarning` says so.

    Exponentials are taken once, ``K = exp(g0_n - sharpness cost_nq)`` relative to the largest of each query; a step
    is then ``P = K u / Σ_n K u`` with ``u = exp(g - g0)``.

    Args:
        cost: ``[E, N, Q]``; infinite for a class that may get nothing. What is added to all classes of a query
            changes nothing.
        columns: sums that the classes shall have ``[E, N]``, together Q; zero where the cost is infinite.
        sharpness: of the kernel.
        tolerance: on the sums of the classes, relative to Q / N.
        tightness: how dear it is that a class gets another sum (τ); None: it cannot.
        start: the g of a similar problem ``[E, N]``; the solution is the same, and found sooner.
        what: whose plan it is, for the warning.
        remedy: what that may change.

    Returns:
        The plan ``[E, N, Q]`` and g, in float64.

    Reference: Cuturi, "Sinkhorn distances: lightspeed computation of optimal transport", NIPS 2013,
    arXiv:1306.0895; the dual in one of the two scalings: Cuturi, Peyré, "Semidual regularized optimal
    transport", SIAM Review 60 (2018); sums at a price: Chizat, Peyré, Schmitzer, Vialard, "Scaling algorithms for
    unbalanced optimal transport problems", Mathematics of Computation 87 (2018), arXiv:1607.05816.
    """
    exact = torch.float32 if cost.device.type == "mps" else torch.float64
    logits = cost.to(exact, copy=True).mul_(-sharpness)  # [E, N, Q]
    target, way = columns.to(exact), cost.shape[1]
    allowed = tolerance * cost.shape[-1] / way
    give = 0.0 if tightness is None else 1 / tightness
    # g is determined up to a constant, and not at all where a class gets nothing: both are held at zero.
    held = torch.diag_embed((target <= 0).to(exact)) + (0.0 if give else 1 / way)  # [E, N, N]
    longest_step = _LONGEST / max(1.0, give)
    g = torch.zeros_like(target) if start is None else start.to(exact)  # [E, N]
    kernel, moved = _kernel(logits, g), torch.zeros_like(g)
    plan = _plan(kernel, moved)
    sums = plan.sum(-1)  # [E, N]
    asked = _asked(target, g, give)
    gap = asked - sums
    larger = []  # batches that went on with some of their episodes, which ones, and where the others arrived
    for number in range(1, _STEPS + 1):
        going = torch.linalg.vector_norm(gap, torch.inf, dim=1, keepdim=True) > allowed  # [E, 1]
        left = int(going.count_nonzero())
        if not left:
            break
        if 2 * left <= len(going):
            some = going.squeeze(1).nonzero().squeeze(1)
            larger.append((some, plan, g))
            logits, kernel, target, held, g, moved, plan, sums, asked, gap, going = (
                part[some] for part in (logits, kernel, target, held, g, moved, plan, sums, asked, gap, going)
            )
        curvature = torch.baddbmm(held, plan, plan.mT, alpha=-1)
        curvature.diagonal(dim1=1, dim2=2).add_(sums + give * asked)
        step = torch.linalg.solve_ex(curvature, gap.unsqueeze(-1)).result.squeeze(-1)
        longest = torch.linalg.vector_norm(step, torch.inf, dim=1, keepdim=True)
        step.mul_(going * (longest_step / longest.clamp_(min=longest_step)))  # none for those that are done
        slope = torch.linalg.vecdot(gap, step)  # [E], of the dual along the step
        before, g, moved = (g, sums, asked), g + step, moved + step
        if number % _ANEW == 0:
            kernel, moved = _anew(going, logits, g, kernel, moved)
        plan = _plan(kernel, moved)
        sums, asked = plan.sum(-1), _asked(target, g, give)
        gap = asked - sums
        # A step of that length whose slope has changed by no more has not led down: third derivatives are at most the
        # range of the step times the second. Of others the dual itself is asked.
        wrong = ~(torch.linalg.vecdot(gap, step) >= slope.mul_(-_OVERSHOT)).unsqueeze(1)  # [E, 1]
        if wrong.any():
            value = _dual(logits, before[0], target, give)
            wrong &= ~(_dual(logits, g, target, give) >= value - 1e-9 * value.abs())
        if wrong.any():
            smallest = torch.finfo(exact).tiny
            ratio = (before[2] / before[1].clamp(min=smallest)).clamp(min=smallest)
            g = torch.where(wrong, before[0] + torch.where(target <= 0, 0.0, ratio.log() / (1 + give)), g)
            kernel, moved = _anew(wrong, logits, g, kernel, moved)
            plan = _plan(kernel, moved)
            sums, asked = plan.sum(-1), _asked(target, g, give)
            gap = asked - sums
    for some, plans, scalings in reversed(larger):
        plans[some], scalings[some] = plan, g
        plan, g = plans, scalings
    if left:
        unfinished = (_asked(columns.to(exact), g, give) - plan.sum(-1)).abs().amax(1) > allowed
        warn_unconverged(f"transport plan of {what}", unfinished, _STEPS, remedy)
    return plan, g


def _kernel(logits: Tensor, g: Tensor) -> Tensor:
    logits = logits + g.unsqueeze(-1)  # [E, N, Q]
    return logits.sub_(logits.amax(1, keepdim=True)).exp_()


def _asked(target: Tensor, g: Tensor, give: float) -> Tensor:
    """Sums that the classes shall have at these scalings ``[E, N]``."""
    return target * (-give * g).exp() if give else target


def _dual(logits: Tensor, g: Tensor, target: Tensor, give: float) -> Tensor:
    """What is maximised ``[E, 1]``."""
    value = -target * (-give * g).exp() / give if give else target * g
    return value.sum(1, keepdim=True) - (logits + g.unsqueeze(-1)).logsumexp(1).sum(1, keepdim=True)


def _anew(where: Tensor, logits: Tensor, g: Tensor, kernel: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
    """Exponentials relative to g, and that nothing has moved since, for some of the episodes."""
    return torch.where(where.unsqueeze(-1), _kernel(logits, g), kernel), moved.masked_fill(where, 0.0)


def _plan(kernel: Tensor, moved: Tensor) -> Tensor:
    plan = kernel * moved.exp().unsqueeze(-1)
    return plan.mul_(plan.sum(1, keepdim=True).reciprocal_())

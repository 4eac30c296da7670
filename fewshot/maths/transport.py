"""Entropic optimal transport from queries to classes, for many episodes at once."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.maths.convergence import warn_unconverged
from fewshot.maths.linalg import product

_LONGEST = 2.0  # a Newton step may change no log-scaling by more: beyond, the curvature is another one
_STEPS = 500


@torch.no_grad()
def transport(
    cost: Tensor,
    columns: Tensor,
    sharpness: float,
    tolerance: float,
    start: Tensor | None = None,
    *,
    what: str = "pt-map",
    remedy: str = "raise marginal_tolerance, or lower sharpness",
) -> tuple[Tensor, Tensor]:
    """The plan that gives each query once and each class its sum, cheapest up to its entropy.

    ``P_nq = softmax_n(g_n - sharpness cost_nq)`` sums to 1 over classes for any g; the g that gives the classes
    their sums maximises the concave ``Σ_n c_n g_n - Σ_q log Σ_n exp(g_n - sharpness cost_nq)``, a problem in N
    numbers. Newton's method solves it in a dozen steps where alternating scaling (Sinkhorn-Knopp), the usual
    way to the same plan, takes hundreds to thousands; a step that would go wrong is replaced by one of scaling,
    which never does. An episode that is done is left alone, so its plan does not depend on the others; one that is
    not after 500 steps keeps the plan found, and a `ConvergenceWarning` says so.

    Args:
        cost: ``[E, N, Q]``; infinite for a class that may get nothing.
        columns: sums that the classes shall have ``[E, N]``, together Q; zero where the cost is infinite.
        sharpness: of the kernel.
        tolerance: on the sums of the classes, relative to Q / N.
        start: the g of a similar problem ``[E, N]``; the solution is the same, and found sooner.
        what: whose plan it is, for the warning.
        remedy: what that may change.

    Returns:
        The plan ``[E, N, Q]`` and g, in float64.

    Reference: Cuturi, "Sinkhorn distances: lightspeed computation of optimal transport", NIPS 2013,
    arXiv:1306.0895; the dual in one of the two scalings: Cuturi, Peyré, "Semidual regularized optimal
    transport", SIAM Review 60 (2018).
    """
    exact = torch.float32 if cost.device.type == "mps" else torch.float64
    kernel = cost.to(exact) * -sharpness  # [E, N, Q]
    wanted, way = columns.to(exact), cost.shape[1]
    none = wanted <= 0
    scaling = torch.zeros_like(wanted) if start is None else start.clone()  # [E, N]
    allowed = tolerance * cost.shape[-1] / way
    active = torch.arange(len(cost), device=cost.device)
    part, target, empty, g = kernel, wanted, none, scaling.clone()
    plan, value = _plan(part, g, target)
    for _ in range(_STEPS):
        sums = plan.sum(-1)  # [e, N]
        gap = target - sums
        going = (gap.abs().amax(1) > allowed).nonzero().squeeze(1)
        if len(going) < len(active):
            scaling[active] = g
            if not len(going):
                break
            active, part, target, empty, g = active[going], part[going], target[going], empty[going], g[going]
            plan, value, sums, gap = plan[going], value[going], sums[going], gap[going]
        # g is determined up to a constant, and not at all where a class gets nothing: both are held at zero.
        curvature = torch.diag_embed(sums + empty) - product(plan, plan.mT) + 1 / way
        step = torch.linalg.solve_ex(curvature, gap.unsqueeze(-1)).result.squeeze(-1)
        longest = step.abs().amax(1, keepdim=True)
        newton = g + step * (_LONGEST / longest.clamp(min=_LONGEST))
        plan, reached = _plan(part, newton, target)
        wrong = ~(reached >= value - 1e-9 * value.abs()).unsqueeze(1)
        if wrong.any():
            smallest = torch.finfo(exact).tiny
            scaled = g + torch.where(empty, 0.0, (target / sums.clamp(min=smallest)).clamp(min=smallest).log())
            newton = torch.where(wrong, scaled, newton)
            plan, reached = _plan(part, newton, target)
        g, value = newton, reached
    else:
        scaling[active] = g
        unfinished = torch.zeros(len(cost), dtype=torch.bool, device=cost.device)
        unfinished[active] = (target - plan.sum(-1)).abs().amax(1) > allowed
        warn_unconverged(f"transport plan of {what}", unfinished, _STEPS, remedy)
    return _plan(kernel, scaling, wanted)[0], scaling


def _plan(kernel: Tensor, g: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The plan of log-scalings g, and the dual value."""
    logits = kernel + g.unsqueeze(-1)  # [E, N, Q]
    largest = logits.amax(1, keepdim=True)  # [E, 1, Q]
    plan = logits.sub_(largest).exp_()
    sums = plan.sum(1, keepdim=True)
    return plan.div_(sums), (wanted * g).sum(1) - (sums.log() + largest).sum((1, 2))

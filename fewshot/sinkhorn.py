"""Entropic optimal transport from queries to classes, for many episodes at once."""

from __future__ import annotations

import torch
from torch import Tensor

_CHECK_EVERY = 10  # iterations between looks at who has converged: each look waits for the device


@torch.no_grad()
def transport(cost: Tensor, columns: Tensor, sharpness: float, tolerance: float, steps: int) -> Tensor:
    """The plan ``P = diag(u) exp(-sharpness cost) diag(v)`` with rows that sum to 1 and given column sums.

    Alternating scaling (Sinkhorn-Knopp). An episode ends when no row sum is off by more than the tolerance;
    it is then left alone, so its plan does not depend on the others.

    Args:
        cost: ``[E, Q, N]``; infinite for a class that may get nothing.
        columns: sums that the columns shall have ``[E, N]``, together Q; zero where the cost is infinite.
        sharpness: of the kernel.
        tolerance: on row sums.
        steps: at most.

    Returns:
        The plan ``[E, Q, N]`` in float64.
    """
    exact = torch.float32 if cost.device.type == "mps" else torch.float64
    cost = cost.to(exact)
    lowest = cost.amin(-1, keepdim=True)  # scaling rows changes no plan, and keeps the kernel from underflow
    kernel = torch.exp(-sharpness * (cost - lowest))  # [E, Q, N]
    wanted = columns.to(exact).unsqueeze(-1)  # [E, N, 1]
    smallest = torch.finfo(exact).tiny
    right = torch.ones_like(wanted)  # [E, N, 1]
    active = torch.arange(len(cost), device=cost.device)
    part, target, scaling = kernel, wanted, right
    for step in range(1, steps + 1):
        left = 1 / (part @ scaling).clamp(min=smallest)  # [e, Q, 1]
        scaling = target / (part.mT @ left).clamp(min=smallest)
        if step % _CHECK_EVERY == 0 or step == steps:
            off = ((part @ scaling) * left - 1).abs().amax((1, 2))
            right[active] = scaling
            going = (off > tolerance).nonzero().squeeze(1)
            if len(going) == 0:
                break
            if len(going) < len(active):
                active, part, target, scaling = active[going], part[going], target[going], scaling[going]
    left = 1 / (kernel @ right).clamp(min=smallest)
    return left * kernel * right.mT

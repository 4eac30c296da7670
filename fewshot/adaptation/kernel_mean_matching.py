"""`kmm`: weights under which the source has the target's mean in a kernel's feature space."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.adaptation.weighting import InstanceWeights, kernel_width
from fewshot.maths.convergence import warn_unconverged
from fewshot.maths.linalg import product

_STEPS = 10_000
_TOLERANCE = 1e-8  # of a weight, in one step


class KernelMeanMatching(InstanceWeights):
    """Kernel mean matching: ``min_w w^T K w / 2 - k^T w``, ``0 <= w <= bound``, ``|sum w - S| <= S eps``.

    ``K_ij = exp(-|x_i - x_j|^2 / h)`` over source rows, ``k_i = S / U sum_j exp(-|x_i - t_j|^2 / h)``, h the median of
    squared distances between the domains, ``eps = (sqrt S - 1) / sqrt S``. Solved by accelerated projected gradients
    with restarts.

    Args:
        bound: the largest weight, above 0.

    Raises:
        ValueError: `bound` out of range.

    Reference: Huang, Smola, Gretton, Borgwardt, Schölkopf, "Correcting sample selection bias by unlabeled data",
    NIPS 2006; acceleration: Beck, Teboulle, SIAM Journal on Imaging Sciences 2 (2009); O'Donoghue, Candès,
    "Adaptive restart for accelerated gradient schemes", 2015.

    Example:
        >>> import torch
        >>> source, target = torch.linspace(0, 1, 6).view(1, 6, 1), torch.linspace(0.6, 1.1, 6).view(1, 6, 1)
        >>> weights = KernelMeanMatching().weigh(source, torch.ones(1, 6, dtype=torch.bool), target)
        >>> (weights > weights.mean()).tolist()  # rows near the target count for more
        [[False, False, False, True, True, True]]
    """

    name = "kmm"

    def __init__(self, bound: float = 10.0) -> None:
        super().__init__()
        if not bound > 0:
            raise ValueError(f"bound={bound!r}; it must be above 0.")
        self.bound = bound

    def weigh(self, source: Tensor, known: Tensor, target: Tensor) -> Tensor:
        """Weights ``[E, S]`` in float64."""
        exact = torch.float32 if source.device.type == "mps" else torch.float64
        rows, others = source.to(exact), target.to(exact)
        width = kernel_width(rows, known, others)
        mask = known.to(exact)
        kernel = (-torch.cdist(rows, rows).square() / width).exp() * mask.unsqueeze(1) * mask.unsqueeze(2)
        near = (-torch.cdist(rows, others).square() / width).exp().mean(-1)  # [E, S]
        count = mask.sum(1, keepdim=True)  # [E, 1]
        slack = (count.sqrt() - 1) / count.sqrt().clamp(min=1)
        low, high = count * (1 - slack), count * (1 + slack)
        return _minimum(kernel, count * near * mask, mask * self.bound, low, high)


def _minimum(kernel: Tensor, linear: Tensor, upper: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``argmin w^T K w / 2 - linear^T w`` over ``0 <= w <= upper``, ``low <= sum w <= high`` ``[E, S]``."""
    step = 1 / kernel.sum(-1).amax(1).clamp(min=1).view(-1, 1)  # the largest row sum bounds the curvature
    weights = _projected(upper.clamp(max=1), upper, low, high)
    ahead, momentum = weights, torch.ones_like(step)
    done = torch.zeros_like(step, dtype=torch.bool)
    for _ in range(_STEPS):
        gradient = product(kernel, ahead.unsqueeze(-1)).squeeze(-1) - linear
        new = _projected(ahead - step * gradient, upper, low, high)
        back = ((ahead - new) * (new - weights)).sum(1, keepdim=True) > 0  # momentum points uphill: start anew
        grown = torch.where(back, 1.0, (1 + (1 + 4 * momentum.square()).sqrt()) / 2)
        change = (new - weights).abs().amax(1, keepdim=True)
        ahead_new = new + torch.where(back, 0.0, (momentum - 1) / grown) * (new - weights)
        weights, ahead = torch.where(done, weights, new), torch.where(done, ahead, ahead_new)
        momentum = grown
        done = done | ((change <= _TOLERANCE) & ~back)
        if bool(done.all()):
            return weights
    warn_unconverged("kmm", ~done.squeeze(1), _STEPS, "the weights are near the best; scale the features if in doubt")
    return weights


def _projected(point: Tensor, upper: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The nearest point of the box with a sum in range: the box alone, or the box after a common shift."""
    inside = torch.minimum(point.clamp(min=0), upper)
    total = inside.sum(1, keepdim=True)
    wanted = torch.minimum(torch.maximum(total, low), high)
    off = (wanted != total).squeeze(1)
    if not bool(off.any()):
        return inside
    # The sum falls as the shift grows: halve the interval that holds the right shift.
    least, most = (point - upper).amin(1, keepdim=True), point.amax(1, keepdim=True)
    for _ in range(50):
        shift = (least + most) / 2
        above = torch.minimum((point - shift).clamp(min=0), upper).sum(1, keepdim=True) > wanted
        least, most = torch.where(above, shift, least), torch.where(above, most, shift)
    shifted = torch.minimum((point - (least + most) / 2).clamp(min=0), upper)
    return torch.where(off.unsqueeze(1), shifted, inside)

"""Temperature scaling: the temperature under which given answers are most likely."""

from __future__ import annotations

import math

from torch import Tensor

_USUAL = 3.5  # logarithm of the largest gap of logits over the temperature, where the search begins


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T for which ``softmax(logits / T)`` is most likely, given the true classes.

    ``minimise over T   -sum_i sum_n  t_in log softmax(logits_i / T)_n``. Few examples are often all
    classified right, and then the likelihood alone would ask for T = 0 and for certainty. So the targets are
    softened as Platt did: with M examples the true class gets ``(M + 1) / (M + 2)``, the others share what
    is left. Targets that are probabilities themselves are taken as they are.

    Args:
        logits: ``[M, N]``, ``-inf`` for classes that could not be answered.
        labels: true classes ``[M]``, each with a finite logit; or their probabilities t ``[M, N]``, 0 where logits are
            ``-inf``.

    Reference: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017,
    arXiv:1706.04599. Targets: Platt, "Probabilistic outputs for support vector machines", 1999.

    >>> import torch
    >>> fit_temperature(torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]]), torch.tensor([0, 1, 1])) > 9
    True
    """
    logits = logits.double()
    possible = logits.isfinite()
    everywhere = bool(possible.all())
    count, others = len(logits), (possible.sum(1, keepdim=True) - 1).clamp(min=1)  # M, [M, 1]
    logits = (logits - logits.amax(1, keepdim=True)).masked_fill(~possible, 0)  # [M, N]: at most 0, 0 somewhere
    spread = logits.abs().max().item()
    # All classes are always equally likely, whatever the temperature; or rows left the range of numbers.
    if spread == 0 or not math.isfinite(spread):
        return 1.0
    if labels.ndim == 2:
        hoped = (labels * logits).sum(1, keepdim=True)  # mean logit under the targets, [M, 1]
    else:
        own = logits.gather(1, labels.unsqueeze(1))  # [M, 1]
        rest = (logits.sum(1, keepdim=True) - own) / others  # the mean over the other classes
        hoped = ((count + 1) * own + rest) / (count + 2)

    def slope(log_inverse: float) -> tuple[float, float]:
        """Derivative of the loss by 1 / T, which only rises, and that by log(1 / T)."""
        inverse = math.exp(log_inverse)
        weight = (logits * inverse).exp_()  # [M, N]
        weight = weight if everywhere else weight.mul_(possible)
        total = weight.sum(1, keepdim=True)  # [M, 1]
        mean = weight.mul_(logits).sum(1, keepdim=True) / total
        variance = weight.mul_(logits).sum(1, keepdim=True) / total - mean.square()
        return (mean - hoped).sum().item(), inverse * variance.sum().item()

    # In units of the largest gap, the answer lies between certainty and indifference, mostly near 1 / 30.
    low, high = (-math.log(spread) + side for side in (-15.0, 15.0))
    here = -math.log(spread) + _USUAL
    for _ in range(100):
        value, rise = slope(here)
        low, high = (here, high) if value < 0 else (low, here)
        there = here - value / rise if rise > 0 else math.inf
        there = there if low < there < high else (low + high) / 2  # Newton's step, or the middle
        if abs(there - here) < 1e-7:
            break
        here = there
    return math.exp(-here)

"""Temperature scaling: probabilities that mean what they say."""

from __future__ import annotations

import torch
from torch import Tensor


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T for which ``softmax(logits / T)`` is most likely, given the true classes.

    ``minimise over T   -sum_i sum_n  t_in log softmax(logits_i / T)_n``. Few examples are often all
    classified right, and then the likelihood alone would ask for T = 0 and for certainty. So the targets are
    softened as Platt did: with M examples the true class gets ``(M + 1) / (M + 2)``, the others share what
    is left.

    Args:
        logits: ``[M, N]``, ``-inf`` for classes that could not be answered.
        labels: true classes ``[M]``, each with a finite logit.

    Reference: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017,
    arXiv:1706.04599. Targets: Platt, "Probabilistic outputs for support vector machines", 1999.

    >>> fit_temperature(torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]]), torch.tensor([0, 1, 1])) > 9
    True
    """
    from scipy.optimize import minimize_scalar

    logits = logits.double()
    possible = logits.isfinite()
    count, others = len(logits), (possible.sum(1, keepdim=True) - 1).clamp(min=1)  # M, [M, 1]
    true = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()  # [M, N]
    targets = torch.where(true, (count + 1) / (count + 2), 1 / (count + 2) / others)
    targets = targets.masked_fill(~possible, 0).double()  # [M, N]
    best = logits.amax(1, keepdim=True)
    logits = logits - best  # [M, N]: at most 0, and exactly 0 somewhere
    spread = logits.masked_fill(~possible, 0).abs().max().item()
    if spread == 0:  # all classes are always equally likely, whatever the temperature
        return 1.0

    def loss(log_temperature: float) -> float:
        log_likely = (logits / torch.tensor(log_temperature).double().exp()).log_softmax(1)
        return -(targets * log_likely.masked_fill(~possible, 0)).sum().item() / count

    # In units of the largest gap, the answer lies between certainty and indifference.
    scale = float(torch.tensor(spread).double().log())
    found = minimize_scalar(loss, bounds=(scale - 15, scale + 15), method="bounded", options={"xatol": 1e-6})
    return float(torch.tensor(found.x).double().exp())

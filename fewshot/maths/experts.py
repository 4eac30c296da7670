"""How much to believe each of several answers to the same question, by what they say of examples held out."""

from __future__ import annotations

import torch
from torch import Tensor

_PRIOR = 10.0  # held-out examples that the weights before any are worth; chosen by benchmarks/defaults.py
_SHARP = 10.0  # of class means, as in `SoftKMeans`
_STEPS = 50
_CLOSE = 1e-9
_FARTHEST = 0.5  # that a step moves the weights


@torch.no_grad()
def weigh_experts(experts: Tensor, target: Tensor, before: tuple[float, ...]) -> Tensor:
    """Weights w of a product of experts, ``log p_n = Σ_j w_j z_nj - log Σ_m exp Σ_j w_j z_mj`` ``[E, J]``.

    They minimise ``Σ_s cross_entropy(Σ_j w_j z_sj, y_s) + 5 |w - w_0|²`` over the examples s, by Newton's method; a
    weight below zero is zero. So a few examples move them little, and none leaves them as they were.

    Args:
        experts: logits z of examples whose labels the experts did not see ``[E, S, N, J]``; ``-inf`` in all of them for
            a class that cannot be the answer.
        target: one-hot labels ``[E, S, N]``, zeros for a row that is not asked.
        before: w_0.

    Reference: Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 2002;
    Wolpert, "Stacked generalization", Neural Networks 1992.
    """
    possible = experts.isfinite().all(-1)  # [E, S, N]
    experts = experts.masked_fill(~possible.unsqueeze(-1), 0)
    start = experts.new_tensor(before)
    weights = start.expand(len(experts), -1)  # [E, J]
    asked = target.sum(-1)  # [E, S]
    own = torch.einsum("esn,esnj->esj", target, experts)  # [E, S, J]
    ridge = _PRIOR * torch.eye(len(before), dtype=experts.dtype, device=experts.device)
    for _ in range(_STEPS):
        logits = (experts @ weights.view(len(weights), 1, -1, 1)).squeeze(-1).masked_fill(~possible, -torch.inf)
        chances = logits.softmax(-1).nan_to_num() * asked.unsqueeze(-1)  # [E, S, N]
        mean = torch.einsum("esn,esnj->esj", chances, experts)
        slope = (mean - own).sum(1) + _PRIOR * (weights - start)  # [E, J]
        curvature = torch.einsum("esn,esni,esnj->eij", chances, experts, experts)
        curvature = curvature - torch.einsum("esi,esj->eij", mean, mean) + ridge
        step = torch.linalg.solve(curvature, slope)
        length = torch.linalg.vector_norm(step, dim=-1, keepdim=True)
        weights = weights - step * (_FARTHEST / length.clamp(min=_FARTHEST))
        if bool((length < _CLOSE).all()):  # those of one episode are as good as still, whenever the others end
            break
    return weights.clamp(min=0)


def sharpness_of_means(shots: Tensor, square: Tensor) -> Tensor:
    """The k with which ``-k |q - p_n|²`` says about what class means know ``[E, 1, 1]``.

    ``k = 10 K / (K + 1) / r²`` for K rows a class: the scatter around a mean of K rows is 1 + 1 / K times that of a
    class.

    Args:
        shots: rows of each class ``[E, N]``.
        square: r², mean square distance of the rows from their mean ``[E, 1, 1]``.
    """
    count, classes = shots.sum(1).view(-1, 1, 1), (shots > 0).sum(1).view(-1, 1, 1).clamp(min=1)
    return _SHARP * count / (count + classes) / square


def left_out(one_hot: Tensor, shots: Tensor) -> Tensor:
    """``K / (K - 1)`` at a row's own class of K, else 1 ``[E, S, N]``.

    A row is that much farther from the mean of the others of its class than from that of all, and of K - 1 votes each
    stands for so many.
    """
    return torch.where(one_hot > 0, (shots / (shots - 1).clamp(min=1)).unsqueeze(1), 1)

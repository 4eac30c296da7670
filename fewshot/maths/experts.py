"""How much to believe each of several answers to the same question, by what they say of examples held out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fewshot.maths.spread import AUTO

_PRIOR = 10.0  # held-out examples that the weights before any are worth; chosen by benchmarks/defaults.py
_SHARP = 10.0  # of class means, as in `SoftKMeans`
_STEPS = 50
_CLOSE = 1e-9
_FARTHEST = 0.5  # that a step moves the weights


def weigh_experts(experts: Tensor, target: Tensor, before: tuple[float, ...], *, follow: bool = False) -> Tensor:
    """Weights w of a product of experts, ``log p_n = Σ_j w_j z_nj - log Σ_m exp Σ_j w_j z_mj`` ``[E, J]``.

    They minimise ``Σ_s cross_entropy(Σ_j w_j z_sj, y_s) + 5 |w - w_0|²`` over the examples s, by Newton's method; a
    weight below zero is zero. So a few examples move them little, and none leaves them as they were.

    Args:
        experts: logits z of examples whose labels the experts did not see ``[E, S, N, J]``; ``-inf`` in all of them for
            a class that cannot be the answer.
        target: one-hot labels ``[E, S, N]``, zeros for a row that is not asked, 2 for one that counts twice.
        before: w_0.
        follow: the weights are a function of the logits, so that gradients go through them; else they are constants.
            A last step of Newton's method has their derivative, whatever led to the minimum.

    Reference: Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 2002;
    Wolpert, "Stacked generalization", Neural Networks 1992.
    """
    possible = experts.isfinite().all(-1)  # [E, S, N]
    experts = experts.masked_fill(~possible.unsqueeze(-1), 0)
    start = experts.new_tensor(before)
    weights = start.expand(len(experts), -1)  # [E, J]
    with torch.no_grad():
        for _ in range(_STEPS):
            slope, curvature = _derivatives(experts, possible, target, weights, start)
            step = torch.linalg.solve(curvature, slope)
            length = torch.linalg.vector_norm(step, dim=-1, keepdim=True)
            weights = weights - step * (_FARTHEST / length.clamp(min=_FARTHEST))
            if bool((length < _CLOSE).all()):  # those of one episode are as good as still, whenever the others end
                break
    if follow and experts.requires_grad:
        slope, curvature = _derivatives(experts, possible, target, weights, start)
        weights = weights - torch.linalg.solve(curvature.detach(), slope)
    return weights.clamp(min=0)


def _derivatives(
    experts: Tensor, possible: Tensor, target: Tensor, weights: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Slope ``[E, J]`` and curvature ``[E, J, J]`` of what the weights minimise."""
    logits = (experts @ weights.view(len(weights), 1, -1, 1)).squeeze(-1).masked_fill(~possible, -torch.inf)
    chances = torch.where(possible, logits.softmax(-1), 0)  # [E, S, N]
    often = target.sum(-1)  # [E, S]
    mean = torch.einsum("esn,esnj->esj", chances, experts)
    own = torch.einsum("esn,esnj->ej", target, experts)
    slope = torch.einsum("es,esj->ej", often, mean) - own + _PRIOR * (weights - start)
    curvature = torch.einsum("es,esn,esni,esnj->eij", often, chances, experts, experts)
    curvature = curvature - torch.einsum("es,esi,esj->eij", often, mean, mean)
    return slope, curvature + _PRIOR * torch.eye(len(start), dtype=experts.dtype, device=experts.device)


def sharpness_of_means(shots: Tensor, square: Tensor) -> Tensor:
    """The k with which ``-k |q - p_n|²`` says about what class means know ``[E, 1, 1]``.

    ``k = 10 K / (K + 1) / r²`` for K rows a class: the scatter around a mean of K rows is 1 + 1 / K times that of a
    class.

    Args:
        shots: rows of each class ``[E, N]``.
        square: r², mean square distance of the rows from their mean ``[E, 1, 1]``.
    """
    count, classes = shots.sum(1).view(-1, 1, 1).to(square), (shots > 0).sum(1).view(-1, 1, 1).clamp(min=1)
    return _SHARP * count / (count + classes) / square


def left_out(one_hot: Tensor, shots: Tensor, once: Tensor | float = 1.0) -> Tensor:
    """``K / (K - 1)`` at a row's own class of K, else 1 ``[E, S, N]``.

    A row is that much farther from the mean of the others of its class than from that of all, and of K - 1 votes each
    stands for so many.

    Args:
        one_hot: labels of the rows ``[E, S, N]``.
        shots: rows of each class ``[E, N]``.
        once: what is left out of a class where rows have weights ``[E, S, 1]``.
    """
    shots = shots.unsqueeze(1).to(one_hot)  # [E, 1, N]
    remain = shots - once
    return torch.where((one_hot > 0) & (remain > 0), shots / torch.where(remain > 0, remain, 1), 1)


def beside_means(
    weight: Tensor, bias: Tensor, prototypes: Tensor, weights: Tensor, sharp: Tensor
) -> tuple[Tensor, Tensor]:
    """``a (W x + b) - c k |x - p_n|²`` as one linear function ``[E, N, D], [E, N, 1]``; all classes lack ``c k |x|²``.

    Args:
        weight: W ``[E, N, D]``.
        bias: b ``[E, N, 1]`` or ``[E, 1, 1]``.
        prototypes: p ``[E, N, D]``, relative to what x is relative to.
        weights: a and c ``[E, 2]``.
        sharp: k ``[E, 1, 1]``.
    """
    first, second = weights[:, :1, None], weights[:, 1:, None] * sharp  # [E, 1, 1]
    squares = prototypes.square().sum(-1, keepdim=True)  # [E, N, 1]
    return first * weight + 2 * second * prototypes, first * bias - second * squares


def check_before(name: str, value: Any) -> None:
    """Refuse a weight of class means that is neither "auto" nor at least 0 and finite.

    Raises:
        ValueError: it is neither.
    """
    if value != AUTO and (isinstance(value, str) or not 0 <= value < float("inf")):
        raise ValueError(f"{name}={value!r}; it must be 'auto', or at least 0 and finite.")

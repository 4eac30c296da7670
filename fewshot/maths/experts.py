"""How much to believe each of several answers to the same question, by what they say of examples held out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fewshot.maths.linalg import product
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


@torch.no_grad()
def likeliest_weights(experts: Tensor, target: Tensor, before: Tensor) -> Tensor:
    """As `weigh_experts`, but the minimum over weights that are not below zero ``[E, J]``.

    Of answers that resemble one another, as those of a method that begins with words and those of the words, one often
    gets a weight below zero that takes back what the other says. Set to zero afterwards it leaves the other too large.
    Newton's method from zero: each step goes to the minimum of a parabola over such weights, which is that of one of
    the 2^J sets of experts, and is halved until it helps.

    Args:
        experts: as in `weigh_experts` ``[E, S, N, J]``, for a few experts.
        target: one-hot labels ``[E, S, N]``, zeros for a row that is not asked.
        before: w_0 of each episode ``[E, J]``.
    """
    possible = experts.isfinite().all(-1)  # [E, S, N]
    experts, target = experts.masked_fill(~possible.unsqueeze(-1), 0), target * possible
    flat, asked = experts.flatten(1, 2), target.sum(-1, keepdim=True)  # [E, S N, J], [E, S, 1]
    own = product(flat.mT, target.flatten(1).unsqueeze(-1)).squeeze(-1)  # [E, J]
    count = experts.shape[-1]
    numbers = torch.arange(2**count, device=experts.device).unsqueeze(1)
    chosen = (numbers >> torch.arange(count, device=experts.device)) % 2 > 0  # [2^J, J]
    both, unit = chosen.unsqueeze(1) & chosen.unsqueeze(2), torch.eye(count, dtype=experts.dtype, device=experts.device)
    best = weights = step = torch.zeros_like(before)
    least = torch.full_like(before[:, :1], torch.inf)
    for _ in range(_STEPS):
        logits = product(flat, weights.unsqueeze(-1)).view_as(target).masked_fill(~possible, -torch.inf)
        known = logits.log_softmax(-1)
        unlikely = -(known.masked_fill(~possible, 0) * target).sum((1, 2)).unsqueeze(-1)
        loss = unlikely + _PRIOR / 2 * (weights - before).square().sum(-1, keepdim=True)  # [E, 1]
        chances = known.exp().nan_to_num() * asked  # [E, S, N]
        weighted = chances.flatten(1).unsqueeze(-1) * flat  # [E, S N, J]
        mean = weighted.view_as(experts).sum(2)  # [E, S, J]
        curvature = product(weighted.mT, flat) - product(mean.mT, mean) + _PRIOR * unit  # of one label a row
        pull = own - mean.sum(1) - _PRIOR * (weights - before) + (curvature @ weights.unsqueeze(-1)).squeeze(-1)
        pull = pull.unsqueeze(1) * chosen  # [E, 2^J, J]
        ends = torch.linalg.solve(torch.where(both, curvature.unsqueeze(1), unit), pull)
        depth = (pull * ends).sum(-1).masked_fill((ends < 0).any(-1), -torch.inf)  # [E, 2^J]
        end = ends.gather(1, depth.argmax(1).view(-1, 1, 1).expand(-1, 1, count)).squeeze(1)  # [E, J]
        helped = loss <= least
        step = torch.where(helped, end - weights, step / 2)
        best, least = torch.where(helped, weights, best), torch.where(helped, loss, least)
        weights = best + step
        if bool((torch.linalg.vector_norm(step, dim=-1) < _CLOSE).all()):
            break
    return best

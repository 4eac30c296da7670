"""How much to believe each of several answers to the same question, by what they say of examples held out."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.maths.linalg import product

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

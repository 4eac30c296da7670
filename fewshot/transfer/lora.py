"""LoRA: low-rank additions to frozen weights, and merging them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fewshot.registry import unknown


class LowRank(nn.Module):
    """``W -> W + alpha / r B A``, for the weight of a linear layer or a convolution (flattened to a matrix).

    Query, key and value of `nn.MultiheadAttention` are one matrix ``[3 D, D]``, and so is what is added to it.

    A begins as Kaiming-uniform and B at zero, so that the layer begins as it was.

    Args:
        weight: of the layer ``[out, in, ...]``.
        rank: r.
        alpha: scale of the addition.
        generator: of the random numbers of A.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.order: tuple[str, ...] = ()  # of the parameters of its layer, which merging restores
        width = weight[0].numel()
        bound = math.sqrt(3.0 / width)
        start = torch.rand(rank, width, generator=generator) * 2 * bound - bound
        self.A = nn.Parameter(start.to(weight))  # [r, in]
        self.B = nn.Parameter(weight.new_zeros(len(weight), rank))  # [out, r]

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with the addition."""
        return weight + (self.scale * (self.B @ self.A)).view_as(weight)


def add_lora(
    network: nn.Module, rank: int = 8, alpha: float | None = None, targets: Sequence[str] | None = None, seed: int = 0
) -> list[str]:
    """Freeze a network and add a trainable low-rank part to its linear maps and plain convolutions, in place.

    Trained numbers: ``r (d_in + d_out)`` for each matrix, ``d_in = in k^2`` of convolutions. Convolutions in groups
    (depthwise ones among them) are left out: their matrices are too small to be thought of as low-rank.

    Args:
        network: changed in place.
        rank: r, from 1.
        alpha: scale; 2 r where it is not given.
        targets: ends of the names of the layers to adapt (``["qkv", "proj"]``); by default all.
        seed: of the random part.

    Returns:
        Names of the adapted layers.

    Raises:
        ValueError: the rank is out of range, or no layer is meant.

    Reference: Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022, arXiv:2106.09685.
    """
    if isinstance(rank, bool) or int(rank) != rank or rank < 1:
        raise ValueError(f"rank={rank!r}; it must be an integer of at least 1.")
    able = {name: part for name, part in network.named_modules() if _able(part)}
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    chosen = {name: part for name, part in able.items() if targets is None or name.endswith(tuple(targets))}
    missing = [end for end in targets or () if not any(name.endswith(end) for name in able)]
    if missing:
        raise ValueError(unknown("layer to adapt", missing[0], sorted({name.rpartition(".")[2] for name in able})))
    if not chosen:
        raise ValueError(f"{type(network).__name__} has no linear layer or plain convolution to adapt.")
    generator = torch.Generator().manual_seed(seed)
    for part in chosen.values():
        own = _matrix_of(part)
        weight: Tensor = getattr(part, own)
        addition = LowRank(weight.detach(), int(rank), float(2 * rank if alpha is None else alpha), generator)
        addition.order = tuple(part._parameters)
        parametrize.register_parametrization(part, own, addition)
    return list(chosen)


def ends_present(network: nn.Module, ends: Sequence[str]) -> list[str]:
    """Those ends of names that some layer which `add_lora` can adapt has."""
    able = [name for name, part in network.named_modules() if _able(part)]
    return [end for end in ends if any(name.endswith(end) for name in able)]


def merge_lora(network: nn.Module) -> nn.Module:
    """Put the additions into the weights, in place: the same function without any of LoRA left."""
    for part in list(network.modules()):
        own = _matrix_of(part)
        if parametrize.is_parametrized(part, own):
            held: Any = part.parametrizations
            if any(isinstance(step, LowRank) for step in held[own]):
                order = next(step.order for step in held[own] if isinstance(step, LowRank))
                parametrize.remove_parametrizations(part, own, leave_parametrized=True)
                part._parameters = {name: part._parameters[name] for name in order}  # as torch itself has them
    return network


def _able(part: nn.Module) -> bool:
    if isinstance(part, nn.Conv2d):
        return part.groups == 1
    if isinstance(part, nn.MultiheadAttention):
        return part.in_proj_weight is not None  # of keys and values of other widths than queries, there are three
    return isinstance(part, nn.Linear)


def _matrix_of(part: nn.Module) -> str:
    return "in_proj_weight" if isinstance(part, nn.MultiheadAttention) else "weight"

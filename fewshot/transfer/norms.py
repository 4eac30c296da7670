"""Normalisation layers of whatever library, and those among them that keep statistics of batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def is_norm(part: nn.Module) -> bool:
    """Whether a module is a normalisation layer: called one, with nothing but vectors for weights."""
    own = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
    return "norm" in type(part).__name__.lower() and bool(own) and all(value.ndim <= 1 for value in own)


def keeps_statistics(part: nn.Module) -> bool:
    """Whether it is one with running statistics, which it takes from the batch in training mode."""
    return is_norm(part) and any(value.is_floating_point() for value in part.buffers(recurse=False))


def folded(network: nn.Module) -> bool:
    """Whether its batch norms have learned scales or shifts, but statistics of no data: means 0 and variances 1.

    So they are where a converter folded the statistics into the weights. With those of a batch in their place the
    network computes something else.
    """
    norms = [part for part in network.modules() if keeps_statistics(part)]
    statistics = [pair for norm in norms for pair in norm.named_buffers(recurse=False)]
    learned = [pair for norm in norms for pair in norm.named_parameters(recurse=False)]
    return bool(norms) and all(map(_as_it_began, statistics)) and not all(map(_as_it_began, learned))


def _as_it_began(pair: tuple[str, Tensor]) -> bool:
    name, value = pair
    return not value.is_floating_point() or bool((value == _first(name)).all())


def _first(name: str) -> float:
    return float("weight" in name or "scale" in name or "var" in name)


def reset_norm(part: nn.Module) -> None:
    """Scales and variances one, shifts and means zero, as all such layers begin."""
    with torch.no_grad():
        for name, value in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            value.fill_(_first(name))


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Meanwhile norms in training mode use statistics of the batch as ever, but leave their running ones alone."""
    norms: list[Any] = [
        part for part in module.modules() if part.training and keeps_statistics(part) and hasattr(part, "momentum")
    ]
    before = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum

"""Normalisation layers of whatever library, and those among them that keep statistics of batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def is_norm(part: nn.Module) -> bool:
    """Whether a module is a normalisation layer: called one, with nothing but vectors for weights."""
    own = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
    return "norm" in type(part).__name__.lower() and bool(own) and all(value.ndim <= 1 for value in own)


def keeps_statistics(part: nn.Module) -> bool:
    """Whether it is one with running statistics, which it takes from the batch in training mode."""
    return is_norm(part) and any(value.is_floating_point() for value in part.buffers(recurse=False))


def reset_norm(part: nn.Module) -> None:
    """Scales and variances one, shifts and means zero, as all such layers begin."""
    with torch.no_grad():
        for name, value in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            value.fill_(float("weight" in name or "scale" in name or "var" in name))


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

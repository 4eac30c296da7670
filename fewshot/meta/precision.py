"""The precision that a training computes in: as asked, or what was measured to be faster for such a network."""

from __future__ import annotations

import torch
from torch import nn

from episodes.device import has_bfloat16
from fewshot.embedding.forward import is_large
from fewshot.meta.plan import PRECISIONS

AUTO = "auto"


def training_precision(precision: str, network: nn.Module | None, device: torch.device) -> str:
    """What a training is planned with, so that it is part of its identity: a run resumes in it, or is refused.

    ``"auto"`` is bfloat16 on a CPU that multiplies it natively, for networks of ordinary 2-d convolutions and for large
    ones without any (transformers), whose steps take a third to two thirds of the time; else float32: networks with
    grouped convolutions (MobileNets) take longer in bfloat16, small heads gain nothing, and of accelerators nothing was
    measured.

    Args:
        precision: ``"auto"``, or one that is given back.
        network: that trains; None: no network does.
        device: where.

    Raises:
        ValueError: an unknown precision.
    """
    if precision not in (AUTO, *PRECISIONS):
        raise ValueError(f"precision={precision!r}; it must be one of {', '.join((AUTO, *PRECISIONS))}.")
    if precision != AUTO:
        return precision
    return "bfloat16" if device.type == "cpu" and has_bfloat16() and _gains(network) else "float32"


def _gains(network: nn.Module | None) -> bool:
    if network is None:
        return False
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    if any(part.groups > 1 for part in convolutions):
        return False
    return len(convolutions) > 1 or is_large(network)  # one cuts pictures into patches

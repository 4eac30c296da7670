"""Copies of encoders that share nothing that training changes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.encoders.encoder import Encoder


def copied(encoder: Encoder) -> Encoder:
    """The same encoder with a network of its own."""
    inner = getattr(encoder, "encoder", None)
    if isinstance(inner, Encoder):  # one that was tuned before: its network, without its head
        return copied(inner)
    other = copy.copy(encoder)
    if encoder.module is not None:
        other.module = copy.deepcopy(encoder.module)
    return other


def clones(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all its tensors."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def interpolate(before: dict[str, Tensor], after: dict[str, Tensor], share: float) -> dict[str, Any]:
    """WiSE-FT: ``(1 - a) theta_0 + a theta`` for every tensor of floating point that changed; the others as after.

    Reference: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, arXiv:2109.01903.
    """
    return {
        name: value
        if not value.is_floating_point() or torch.equal(before[name], value)
        else (1 - share) * before[name] + share * value
        for name, value in after.items()
    }

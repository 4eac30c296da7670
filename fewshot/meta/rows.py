"""Where the rows of a training lie, and how they reach the device."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from episodes.source import Source

_LOG = logging.getLogger("fewshot")


def place_of(device: torch.device | str) -> torch.device:
    """``"auto"`` is CUDA if there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def on_device(source: Source, device: torch.device) -> Source:
    """The rows on the device once and for all, if they take no more than half of what is free there."""
    features = getattr(source, "features", None)
    if features is None or not hasattr(source, "to"):
        return source
    if device.type == "cuda" and features.device.type == "cpu":
        free, _ = torch.cuda.mem_get_info(device)
        if features.nbytes > free / 2:
            _LOG.info("the rows take %.1f GB; they stay in host memory.", features.nbytes / 1e9)
            return source
    moved: Source = source.to(device)
    return moved


def take(rows: Tensor, device: torch.device) -> Tensor:
    """Rows on the device; from host memory without waiting for them."""
    if device.type == "cuda" and rows.device.type == "cpu":
        return rows.pin_memory().to(device, non_blocking=True)
    return rows.to(device)

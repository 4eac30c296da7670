"""The rows of a training: decoded once, and moved to the device."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from episodes.image_source import ImageSource
from episodes.pictures import CentreCrop
from episodes.progress import progress_bar
from episodes.source import Source, TensorSource

_LOG = logging.getLogger("fewshot")


_DECODED = 4 * 2**30  # bytes of pictures that are decoded once instead of in every step


def decoded(source: Source, progress: bool = False) -> Source:
    """Pictures of files as 8-bit rows in memory, if they take up to 4 GB; exactly what their source gives.

    Only where the transform is the plain one: another might draw anew each time, or give more than 8 bits.
    """
    if not isinstance(source, ImageSource) or not isinstance(source.transform, CentreCrop):
        return source
    side = source.transform.size
    if len(source) * 3 * side * side > _DECODED:
        return source
    rows = torch.empty(len(source), 3, side, side, dtype=torch.uint8)
    with progress_bar(len(source), 0, "pictures", show=progress) as bar:
        for part in torch.arange(len(source)).split(256):
            rows[part] = (source[part] * 255).round().to(torch.uint8)
            bar.update(len(part))
    return TensorSource(rows, source.labels, source.class_names, name=source.name)


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

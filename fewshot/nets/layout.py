"""The order of pictures in memory in which convolutions and pooling are quickest."""

from __future__ import annotations

from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """``[B, C, H, W]``, the same numbers, with the channels of a pixel side by side in memory.

    Everything that follows keeps the order. ``x.contiguous(memory_format=torch.channels_last)`` would do nothing for
    one channel, and cannot be run under `vmap`.
    """
    return x.movedim(1, -1).contiguous().flatten(2).unflatten(2, (x.shape[3], x.shape[1])).movedim(-1, 1)

"""Episodes a few at a time, so that several passes over their rows find them in a processor core's cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_CACHED = 2**19  # bytes of rows; with what is made of them, what the second-level cache of a core holds


def in_blocks(work: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """``work(*rows)``, some episodes at a time in host memory, and all of them together on an accelerator.

    It pays for chains of operations on whole rows that leave something smaller behind; operations on few numbers cost
    more than they gain, as each then takes one call for every block.

    Args:
        work: makes of tensors with leading dimension e one with leading dimension e.
        rows: tensors with leading dimension E.
    """
    first, size = rows[0], sum(part[:1].numel() * part.element_size() for part in rows)
    step = max(1, _CACHED // max(1, size))
    if first.device.type != "cpu" or step >= len(first) or torch.compiler.is_compiling():
        return work(*rows)
    return torch.cat([work(*parts) for parts in zip(*(part.split(step) for part in rows), strict=True)])

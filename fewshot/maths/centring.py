"""Rows with a common offset, such as a sensor that reads 101,325: distances between them without loss of digits.

``|q - p|² = |q|² - 2 q·p + |p|²`` and ``w·q + b`` are differences of large numbers where all rows lie far from zero
and near to one another; in float32 nothing may be left of them. What depends on differences of rows alone is
therefore computed relative to a point among the rows. Where rows do not lie that far away, the offset is zero
and nothing is subtracted, as a copy of the queries costs more than most learners do.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.linalg import class_means, product

_FAR = 32.0  # an offset is far where it is this many times the spread of the class means: 5 of 24 bits are lost


class Relative(NamedTuple):
    """An episode whose support is relative to an offset, and what most learners ask of it."""

    episode: Support
    means: Tensor  # [E, N, D], class means
    shots: Tensor  # [E, N]
    offset: Tensor  # [E, 1, D], for `shifted`; zeros [E, 1, 1] where no episode needs one


def relative_to_centre(episode: Support) -> Relative:
    """The support relative to the centre of the class means where that is far from zero; else as it is.

    Queries stay as they are, for `predict` to shift.
    """
    means, shots = class_means(episode)
    offset = _common_offset(means, shots)
    support = shifted(episode.support, offset)
    if support is not episode.support:
        episode = episode.replace(support=support)
        means, shots = class_means(episode)
    return Relative(episode, means, shots, offset)


def shifted(rows: Tensor, offset: Tensor) -> Tensor:
    """Rows ``[E, R, D]`` relative to the offset of `relative_to_centre`; the rows themselves where it is zero."""
    # Looking at the offset would stall an accelerator, where a subtraction is cheap.
    if offset.device.type == "cpu" and not torch.compiler.is_compiling() and not offset.any():
        return rows
    return rows - offset


@torch.no_grad()
def _common_offset(means: Tensor, shots: Tensor) -> Tensor:
    present = (shots > 0).to(means.dtype).unsqueeze(1)  # [E, 1, N]
    count = present.sum(-1, keepdim=True).clamp(min=1)  # [E, 1, 1]
    centre = product(present / count, means)  # [E, 1, D]; means of absent classes are zero
    # The spread is the mean of |p|² less |c|². What rounding does to it is far below the spread that matters.
    squares = torch.linalg.vector_norm(means, dim=(1, 2), keepdim=True).square() / count
    far = squares < (1 + _FAR**-2) * torch.linalg.vector_norm(centre, dim=-1, keepdim=True).square()
    if far.device.type == "cpu" and not torch.compiler.is_compiling() and not far.any():
        return torch.zeros_like(centre[..., :1])
    return torch.where(far, centre, torch.zeros_like(centre))

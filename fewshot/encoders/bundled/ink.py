"""`Ink`: drawings of any size, on paper or on screen, as a net trained on Omniglot takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Ink:
    """Grey levels with bright ink on black ground, the ink fitted into a box in the middle ``[1, size, size]``.

    Dark ink on bright paper (recognised by the border) is inverted; levels are spread about the middle one; what is
    brighter than half is the ink whose bounding box is scaled.

    Args:
        size: side of the result.
        box: side of the square that the ink is fitted into.
        contrast: factor on the distance of a level from the middle one.
    """

    size: int = 28
    box: int = 20
    contrast: float = 3.0

    @property
    def mean(self) -> tuple[float, ...]:
        """What is subtracted from levels in 0..1: nothing; see `fewshot.augmentation`."""
        return (0.0,)

    @property
    def std(self) -> tuple[float, ...]:
        """What they are divided by."""
        return (1.0,)

    def __call__(self, image: Any) -> Tensor:
        """Prepare one PIL image."""
        from PIL import Image

        levels = np.asarray(image.convert("L"), np.float32) / 255
        low, high = float(levels.min()), float(levels.max())
        levels = (levels - low) / max(high - low, 1e-6)
        border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
        if np.median(border) > 0.5:
            levels = 1 - levels
        ink = levels > 0.5
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        if len(rows):
            levels = levels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        height, width = levels.shape
        scale = self.box / max(height, width)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
        fitted = np.asarray(Image.fromarray(levels).resize(target, Image.Resampling.BICUBIC))
        fitted = np.clip((fitted - 0.5) * self.contrast + 0.5, 0, 1)
        page = np.zeros((self.size, self.size), np.float32)
        top, left = (self.size - target[1]) // 2, (self.size - target[0]) // 2
        page[top : top + target[1], left : left + target[0]] = fitted
        return torch.from_numpy(page).unsqueeze(0)

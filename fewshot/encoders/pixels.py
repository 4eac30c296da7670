"""The raw pixels as features: the baseline that every encoder must beat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from episodes.inputs import check_whole
from fewshot.encoders.encoder import Encoder


class Pixels(Encoder):
    """Flattens images, ``x = vec(pixels) / 255``; rows that are features already pass as they are.

    Args:
        size: resize images to ``size x size`` (bilinear, the whole image); None keeps theirs, which must
            then be the same for all.
        grey: one channel, luma, instead of three (only with `size`).

    Raises:
        ValueError: `grey` without `size`.

    Example:
        >>> Pixels().encode_images(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 784])
    """

    def __init__(self, size: int | None = None, grey: bool = False) -> None:
        if grey and size is None:
            raise ValueError("grey=True needs size=...; without it images pass as they are.")
        size = None if size is None else check_whole("size", size)
        self.size, self.grey = size, grey
        self.name = "pixels" if size is None else f"pixels(size={size}{', grey=True' if grey else ''})"
        self.transform = None if size is None else self._prepare
        self.dim = None if size is None else size * size * (1 if grey else 3)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Its arguments: there are no weights."""
        return {"family": "pixels", "size": self.size, "grey": self.grey}

    def encode_images(self, batch: Tensor) -> Tensor:
        """Flatten: ``[B, *x] -> [B, D]``."""
        return batch.flatten(1)

    def _prepare(self, image: Any) -> Tensor:
        import numpy as np
        from PIL import Image

        assert self.size is not None
        image = image.convert("L" if self.grey else "RGB")
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image))
        pixels = pixels.unsqueeze(0) if self.grey else pixels.permute(2, 0, 1)  # [3, H, W]
        return pixels.float().div_(255)

"""`Preprocess`: resize, crop and normalise an image, described by its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.inputs import check_whole

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocess:
    """The evaluation transform of an image classifier: PIL image -> normalised tensor ``[3, size, size]``.

    The short side is resized to `resize` (antialiased), the centre cropped to `size`, and
    ``x = (pixels / 255 - mean) / std``. A dataclass of plain values, so that the embedding cache can distinguish
    any two of them, and equal to torchvision's and timm's transforms of the same values.

    Args:
        size: side of the square that the network sees, in pixels.
        resize: short side before the crop; None squashes the whole image into the square.
        mean: of each colour channel, in 0..1.
        std: of each colour channel.
        interpolation: one of `INTERPOLATIONS`.

    Raises:
        ValueError: an unknown interpolation, or sizes below one.

    >>> from PIL import Image
    >>> Preprocess(size=8, resize=10)(Image.new("RGB", (40, 20))).shape
    torch.Size([3, 8, 8])
    """

    size: int
    resize: int | None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation={self.interpolation!r}; it must be one of {', '.join(INTERPOLATIONS)}.")
        check_whole("size", self.size)
        if self.resize is not None:
            check_whole("resize", self.resize)
        if min(self.std) <= 0:
            raise ValueError(f"std={self.std}; each value must be above 0.")

    def __call__(self, image: Any) -> Tensor:
        """Prepare one PIL image: ``[3, size, size]``, float32."""
        from PIL import Image

        method = Image.Resampling[self.interpolation.upper()]
        if image.mode != "RGB":
            image = image.convert("RGB")
        width, height = image.size
        if self.resize is None:
            target = (self.size, self.size)
        elif width <= height:
            target = (self.resize, int(self.resize * height / width))
        else:
            target = (int(self.resize * width / height), self.resize)
        if image.size != target:
            image = image.resize(target, method)
        left, top = round((target[0] - self.size) / 2.0), round((target[1] - self.size) / 2.0)
        if image.size != (self.size, self.size):
            image = image.crop((left, top, left + self.size, top + self.size))  # outside is black
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)  # [3, size, size]
        mean = torch.tensor(self.mean).view(3, 1, 1)
        std = torch.tensor(self.std).view(3, 1, 1)
        return pixels.float().div_(255).sub_(mean).div_(std)


def per_channel(value: float | Sequence[float]) -> tuple[float, float, float]:
    """One number for all three channels, or three.

    >>> per_channel(0.5)
    (0.5, 0.5, 0.5)
    """
    values = [value] * 3 if isinstance(value, (int, float)) else list(value)
    if len(values) != 3:
        raise ValueError(f"{value!r} has {len(values)} values; give one number, or one per colour channel.")
    return (float(values[0]), float(values[1]), float(values[2]))

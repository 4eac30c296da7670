"""`Preprocess`: resize, crop and normalise an image, described by its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from episodes.inputs import check_whole

if TYPE_CHECKING:
    from typing import TypeGuard

    from episodes.pictures import Box

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
        return self.normalised(self.pixels(image))

    def reduction(self, width: int, height: int) -> int:
        """How many times smaller a JPEG of this size may be decoded: 1, 2, 4 or 8.

        The largest that leaves at least twice as many pixels a side as the resize then makes of them, so that the
        resize still averages over what it would have seen.

        >>> transform = Preprocess(size=224, resize=256)
        >>> transform.reduction(4000, 3000), transform.reduction(640, 480)
        (4, 1)
        """
        least = 2 * (self.size if self.resize is None else self.resize)
        return next((scale for scale in (8, 4, 2) if min(width, height) // scale >= least), 1)

    def normalised(self, pixels: Tensor, *, channels_last: bool = False) -> Tensor:
        """Pixels ``[..., 3, H, W]``, uint8, as the network takes them, float32, on their device.

        The same operations in the same order for one image and for a batch, so that both give the same bits.
        """
        mean = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(3, 1, 1)
        order = torch.channels_last if channels_last else torch.contiguous_format
        return pixels.to(torch.float32, memory_format=order).div_(255).sub_(mean).div_(std)

    def target(self, width: float, height: float) -> tuple[int, int]:
        """Width and height to which a picture is resized."""
        if self.resize is None:
            return self.size, self.size
        if width <= height:
            return self.resize, int(self.resize * height / width)
        return int(self.resize * width / height), self.resize

    def corner(self, width: int, height: int) -> tuple[int, int]:
        """Where the crop of a resized picture begins: left, top."""
        return round((width - self.size) / 2.0), round((height - self.size) / 2.0)

    def pixels(self, image: Any, box: Box | None = None) -> Tensor:
        """One PIL image resized and cropped: ``[3, size, size]``, uint8, channels last in memory.

        Args:
            image: in any mode.
            box: which part of it is the picture, where an edge is no whole pixel (`episodes.pictures.decode_reduced`).
        """
        from PIL import Image

        method = Image.Resampling[self.interpolation.upper()]
        if image.mode != "RGB":
            image = image.convert("RGB")
        width, height = image.size if box is None else (box[2] - box[0], box[3] - box[1])
        target = self.target(width, height)
        left, top = self.corner(*target)
        if box is not None and min(target) >= self.size:  # only what the crop leaves is computed
            across, down = width / target[0], height / target[1]
            first, second = box[0] + left * across, box[1] + top * down
            part = (first, second, first + self.size * across, second + self.size * down)
            image = image.resize((self.size, self.size), method, box=_within(part, image.size))
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)  # [3, size, size]
        if image.size != target or box is not None:
            image = image.resize(target, method, box=box)
        if image.size != (self.size, self.size):
            image = image.crop((left, top, left + self.size, top + self.size))  # outside is black
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)  # [3, size, size]


def _within(box: Box, size: tuple[int, int]) -> Box:
    """Without what rounding puts outside the image."""
    return max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(size[0])), min(box[3], float(size[1]))


def is_plain(transform: Any) -> TypeGuard[Preprocess]:
    """Whether a transform is a `Preprocess` and nothing more: a subclass may look at the image in ways of its own."""
    return type(transform) is Preprocess


def per_channel(value: float | Sequence[float]) -> tuple[float, float, float]:
    """One number for all three channels, or three.

    >>> per_channel(0.5)
    (0.5, 0.5, 0.5)
    """
    values = [value] * 3 if isinstance(value, (int, float)) else list(value)
    if len(values) != 3:
        raise ValueError(f"{value!r} has {len(values)} values; give one number, or one per colour channel.")
    return (float(values[0]), float(values[1]), float(values[2]))

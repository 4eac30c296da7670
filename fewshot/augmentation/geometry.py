"""Mirroring, cropping, moving and turning images: all of a batch in one sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot.augmentation.augmentation import Operation, checked_share


class Flip(Operation):
    """Mirrors images.

    Args:
        p: probability.
        vertical: upside down instead of left to right.
    """

    name = "flip"

    def __init__(self, p: float = 0.5, vertical: bool = False) -> None:
        self.p, self.vertical = checked_share("p", p, 0, 1), bool(vertical)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Mirror where the number is below p."""
        chosen = (draws[:, 0] < self.p)[:, None, None, None]
        return torch.where(chosen, images.flip(-2 if self.vertical else -1), images)


class Crop(Operation):
    """A part of an image, enlarged to its size (bilinear).

    Args:
        scale: least share of the area.
        ratio: most that the part is wider than the image, in relation to its height, or higher.

    Reference: Szegedy et al., "Going deeper with convolutions", CVPR 2015, arXiv:1409.4842.
    """

    name, numbers = "crop", 4

    def __init__(self, scale: float = 0.8, ratio: float = 4 / 3) -> None:
        self.scale = checked_share("scale", scale, 0.01, 1)
        if not 1 <= ratio < math.inf:
            raise ValueError(f"ratio={ratio!r}; it must be at least 1.")
        self.ratio = float(ratio)

    def boxes(self, draws: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Left, top, width and height of the parts in pixels ``[B]``."""
        area = self.scale + (1 - self.scale) * draws[:, 0]
        shape = torch.exp((2 * draws[:, 1] - 1) * math.log(self.ratio))
        part_width = (width * (area * shape).sqrt()).round().clamp(1, width)
        part_height = (height * (area / shape).sqrt()).round().clamp(1, height)
        left = (draws[:, 2] * (width - part_width + 1)).floor().minimum(width - part_width)
        top = (draws[:, 3] * (height - part_height + 1)).floor().minimum(height - part_height)
        return left, top, part_width, part_height

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Sample each part at as many points as the image has pixels."""
        height, width = images.shape[-2:]
        left, top, part_width, part_height = self.boxes(draws, height, width)
        x, y = _places(left, part_width, width), _places(top, part_height, height)  # [B, W], [B, H]
        grid = torch.stack(
            [x.unsqueeze(1).expand(-1, height, -1), y.unsqueeze(2).expand(-1, -1, width)], -1
        )  # [B, H, W, 2]
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


class Shift(Operation):
    """Moves images by whole pixels; what comes into view is black.

    Args:
        share: of each side by which it is moved at most.
    """

    name, numbers, pixels = "shift", 2, True

    def __init__(self, share: float = 0.125) -> None:
        self.share = checked_share("share", share, 0, 1)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Take each pixel from where it was."""
        height, width = images.shape[-2:]
        right, down = ((2 * draws[:, axis] - 1) * self.share * size for axis, size in ((0, width), (1, height)))
        columns = torch.arange(width, device=images.device) - right.round().long().unsqueeze(1)  # [B, W]
        lines = torch.arange(height, device=images.device) - down.round().long().unsqueeze(1)  # [B, H]
        inside = ((columns >= 0) & (columns < width)).unsqueeze(1) & ((lines >= 0) & (lines < height)).unsqueeze(2)
        moved = images.gather(3, columns.clamp(0, width - 1)[:, None, None, :].expand_as(images))
        moved = moved.gather(2, lines.clamp(0, height - 1)[:, None, :, None].expand_as(images))
        return moved * inside.unsqueeze(1)


class Rotate(Operation):
    """Turns images about their centre (bilinear); what comes into view is black.

    Args:
        degrees: most, in either sense.
    """

    name, pixels = "rotate", True

    def __init__(self, degrees: float = 15.0) -> None:
        self.degrees = checked_share("degrees", degrees, 0, 180)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Sample each image along turned axes."""
        height, width = images.shape[-2:]
        angle = (2 * draws[:, 0] - 1) * math.radians(self.degrees)
        cos, sin, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
        turn = torch.stack(
            [torch.stack([cos, -sin * height / width, none], -1), torch.stack([sin * width / height, cos, none], -1)], 1
        )  # [B, 2, 3]
        grid = F.affine_grid(turn, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _places(first: Tensor, length: Tensor, size: int) -> Tensor:
    """Where to sample along an axis, -1..1 over the whole image ``[B, size]``; never beyond the part itself."""
    steps = torch.arange(size, device=first.device, dtype=first.dtype) + 0.5
    places = first.unsqueeze(1) + steps * (length / size).unsqueeze(1) - 0.5  # in pixels
    places = places.maximum(first.unsqueeze(1)).minimum((first + length - 1).unsqueeze(1))
    return (2 * places + 1) / size - 1

"""Changes of colour, for pixels in 0..1."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.augmentation.augmentation import Operation, checked_share

_LUMA = (0.2989, 0.587, 0.114)  # of red, green and blue, ITU-R 601-2, as torchvision has it


class Color(Operation):
    """Brightness, contrast and saturation, in this order, each times a factor in ``1 - strength..1 + strength``.

    Args:
        strength: of all three.
    """

    name, numbers, pixels = "color", 3, True

    def __init__(self, strength: float = 0.2) -> None:
        self.strength = checked_share("strength", strength, 0, 1)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Mix each image with black, with its mean grey, and with its own grey."""
        factors = (1 + self.strength * (2 * draws - 1))[..., None, None, None]  # [B, 3, 1, 1, 1]
        images = (factors[:, 0] * images).clamp(0, 1)
        mean = luma(images).mean((1, 2, 3), keepdim=True)
        images = (factors[:, 1] * images + (1 - factors[:, 1]) * mean).clamp(0, 1)
        return (factors[:, 2] * images + (1 - factors[:, 2]) * luma(images)).clamp(0, 1)


class Grey(Operation):
    """Takes the colours away.

    Args:
        p: probability.
    """

    name, pixels = "grey", True

    def __init__(self, p: float = 0.2) -> None:
        self.p = checked_share("p", p, 0, 1)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Grey where the number is below p."""
        return torch.where((draws[:, 0] < self.p)[:, None, None, None], luma(images).expand_as(images), images)


class Erase(Operation):
    """Blackens a rectangle.

    Args:
        p: probability.
        share: most of the area that it takes.

    Reference: Zhong, Zheng, Kang, Li, Yang, "Random erasing data augmentation", AAAI 2020, arXiv:1708.04896.
    """

    name, numbers, pixels = "erase", 5, True

    def __init__(self, p: float = 0.5, share: float = 0.25) -> None:
        self.p, self.share = checked_share("p", p, 0, 1), checked_share("share", share, 0.02, 1)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Zero inside the rectangle where the first number is below p."""
        height, width = images.shape[-2:]
        area, shape = 0.02 + (self.share - 0.02) * draws[:, 1], torch.exp((2 * draws[:, 2] - 1) * 1.2)  # ratio 0.3..3.3
        wide, high = (width * (area * shape).sqrt()).round(), (height * (area / shape).sqrt()).round()
        left = (draws[:, 3] * (width - wide).clamp(min=0)).round().unsqueeze(1)
        top = (draws[:, 4] * (height - high).clamp(min=0)).round().unsqueeze(1)
        columns, lines = (torch.arange(size, device=images.device) for size in (width, height))
        inside = (columns >= left) & (columns < left + wide.unsqueeze(1))  # [B, W]
        between = (lines >= top) & (lines < top + high.unsqueeze(1))  # [B, H]
        chosen = (draws[:, 0] < self.p)[:, None, None]
        return images.masked_fill((chosen & inside.unsqueeze(1) & between.unsqueeze(2)).unsqueeze(1), 0.0)


def luma(images: Tensor) -> Tensor:
    """Grey levels ``[B, 1, H, W]``; images of one channel are their own."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return (images * images.new_tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)

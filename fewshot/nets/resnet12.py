"""ResNet-12 with DropBlock."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot.nets.layout import channels_last
from fewshot.nets.norm import make_norm


class DropBlock(nn.Module):
    """In training, zeroes squares of a map and rescales what is left; it draws from a generator of its own.

    Args:
        rate: share of the map that goes.
        size: side of a square.

    Reference: Ghiasi, Lin, Le, "DropBlock: a regularization method for convolutional networks", NeurIPS 2018,
    arXiv:1810.12890.
    """

    def __init__(self, rate: float, size: int) -> None:
        super().__init__()
        self.rate, self.size = rate, size
        self.generator = torch.Generator()

    def forward(self, x: Tensor) -> Tensor:
        """Drop squares of ``[B, C, H, W]``."""
        size = min(self.size, *x.shape[2:])
        if not self.training or self.rate == 0:
            return x
        places = (x.shape[2] - size + 1) * (x.shape[3] - size + 1)
        seeds = self.rate * x.shape[2] * x.shape[3] / (size * size * places)
        begins = (torch.rand(*x.shape[:2], x.shape[2] - size + 1, x.shape[3] - size + 1, generator=self.generator)
                  < seeds).to(x)  # fmt: skip
        gone = F.max_pool2d(F.pad(begins, [size - 1] * 4), size, 1)
        kept = 1 - gone
        return x * kept * (kept.numel() / kept.sum().clamp(min=1))


class _Block(nn.Module):
    def __init__(self, before: int, after: int, norm: str, drop: DropBlock | nn.Module) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = before
        for last in (False, False, True):
            layers += [nn.Conv2d(width, after, 3, 1, 1, bias=False), make_norm(norm, after)]
            layers += [] if last else [nn.LeakyReLU(0.1)]
            width = after
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), make_norm(norm, after))
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.leaky_relu(self.layers(x) + self.shortcut(x), 0.1)
        dropped: Tensor = self.drop(F.max_pool2d(y, 2))
        return dropped


class ResNet12(nn.Module):
    """Four residual blocks of 64, 160, 320 and 640 channels, each halving the picture; the mean over the last map.

    Args:
        item_shape: ``(channels, height, width)`` of the pictures.
        widths: channels of the blocks.
        norm: ``"batch"``, ``"task"``, ``"group"`` or ``"none"``.
        drop: share that DropBlock takes in the last two blocks.
        drop_size: side of its squares.

    Reference: Lee, Maji, Ravichandran, Soatto, "Meta-learning with differentiable convex optimization", CVPR 2019,
    arXiv:1904.03758.
    """

    def __init__(
        self,
        item_shape: tuple[int, ...] = (3, 84, 84),
        widths: tuple[int, ...] = (64, 160, 320, 640),
        norm: str = "batch",
        drop: float = 0.1,
        drop_size: int = 5,
    ) -> None:
        super().__init__()
        if len(item_shape) != 3 or not 0 <= drop < 1:
            raise ValueError(f"item_shape={item_shape}, drop={drop}; items must be pictures, the share in 0..1.")
        blocks, before = [], item_shape[0]
        for number, width in enumerate(widths):
            last = number >= len(widths) - 2
            blocks.append(_Block(before, width, norm, DropBlock(drop, drop_size) if last and drop else nn.Identity()))
            before = width
        self.blocks = nn.Sequential(*blocks)
        self.dim = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[B, C, H, W] -> [B, D]``."""
        y: Tensor = self.blocks(channels_last(x))
        return y.mean((2, 3))

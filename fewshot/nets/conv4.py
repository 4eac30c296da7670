"""Conv-4: four blocks of convolution, normalisation, ReLU and pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fewshot.nets.layout import channels_last
from fewshot.nets.norm import make_norm


class Conv4(nn.Module):
    """The classic 64-64-64-64: 3 x 3 convolutions, each halving the picture.

    Features of 28 x 28 pixels are 64, of 84 x 84 pixels 1,600.

    Args:
        item_shape: ``(channels, height, width)`` of the pictures.
        channels: of every block.
        blocks: how many; a picture of one pixel is not halved again.
        norm: ``"batch"``, ``"task"``, ``"group"`` or ``"none"``.
        stride: 1 with pooling, as in metric learning; 2 without, as MAML has it on Omniglot.

    Reference: Vinyals et al., "Matching networks for one shot learning", NeurIPS 2016, arXiv:1606.04080.
    """

    def __init__(
        self,
        item_shape: tuple[int, ...] = (1, 28, 28),
        channels: int = 64,
        blocks: int = 4,
        norm: str = "batch",
        stride: int = 1,
    ) -> None:
        super().__init__()
        if len(item_shape) != 3 or stride not in (1, 2) or channels < 1 or blocks < 1:
            raise ValueError(
                f"item_shape={item_shape}, channels={channels}, blocks={blocks}, stride={stride}; items must be "
                "pictures (channels, height, width), the stride 1 or 2."
            )
        layers: list[nn.Module] = []
        width, side = item_shape[0], min(item_shape[1:])
        for _ in range(blocks):
            layers += [nn.Conv2d(width, channels, 3, stride, 1), make_norm(norm, channels), nn.ReLU()]
            if stride == 1 and side > 1:
                layers.append(nn.MaxPool2d(2))
                side //= 2
            width = channels
        self.layers = nn.Sequential(*layers)
        with torch.no_grad():
            self.eval()
            self.dim = int(self(torch.zeros(1, *item_shape)).shape[1])
            self.train()

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[B, C, H, W] -> [B, D]``."""
        y: Tensor = self.layers(channels_last(x))
        return y.flatten(1)

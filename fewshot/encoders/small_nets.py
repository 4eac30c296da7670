"""The small networks of the field as encoders, with weights from a seed or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot.encoders.checkpoint import load_weights, read_checkpoint
from fewshot.encoders.module import ModuleEncoder
from fewshot.nets import make_net
from fewshot.nets.features import feature_count


class SmallNet(ModuleEncoder):
    """``net:NAME``: a network of `fewshot.nets` with weights of a seed, to be trained; or those of a checkpoint.

    Args:
        model: ``"conv4"``, ``"resnet12"`` or ``"mlp"``.
        checkpoint: file of its weights, such as ``last.safetensors`` of `fewshot.pretrain_unlabelled`, or None.
        item_shape: of what it takes: ``(channels, height, width)`` with 1 channel (grey) or 3, to which pictures are
            resized; or ``(D,)`` for rows of features.
        seed: of fresh weights.
        channels: of ``conv4``, like the following where it is named: see the network; None: its default.
        widths: of ``resnet12`` and ``mlp``.
        norm: of ``conv4`` and ``mlp``.
        drop: of ``resnet12``.

    Raises:
        ValueError: an unknown network, an argument that it does not take, or a checkpoint that does not fit.

    Example:
        >>> SmallNet("conv4", item_shape=(1, 28, 28)).dim
        64
    """

    copyable = True

    def __init__(
        self,
        model: str,
        checkpoint: str | None = None,
        *,
        item_shape: Sequence[int] = (1, 28, 28),
        seed: int = 0,
        channels: int | None = None,
        widths: Sequence[int] | None = None,
        norm: str | None = None,
        drop: float | None = None,
    ) -> None:
        from fewshot.randomness import drawing_from

        self.model, self.checkpoint, self.item_shape, self.seed = model, checkpoint, tuple(item_shape), seed
        self.channels, self.widths, self.norm, self.drop = channels, widths, norm, drop
        options = {"channels": channels, "widths": widths and tuple(widths), "norm": norm, "drop": drop}
        given = {name: value for name, value in options.items() if value is not None}
        if len(self.item_shape) not in (1, 3) or (len(self.item_shape) == 3 and self.item_shape[0] not in (1, 3)):
            raise ValueError(
                f"item_shape={self.item_shape}; it must be (channels, height, width) with 1 or 3 channels, or (D,)."
            )
        spec = f"{model}({', '.join(f'{name}={value!r}' for name, value in given.items())})"
        with drawing_from(seed):
            net = make_net(spec, self.item_shape)
        if checkpoint is not None:
            load_weights(net, read_checkpoint(checkpoint), f"net:{model}")
        transform = Resized(*self.item_shape) if len(self.item_shape) == 3 else None
        width = feature_count(net, self.item_shape)
        super().__init__(net, transform, dim=width)
        self.pretrained = checkpoint is not None
        self.name = _written(model, {"checkpoint": checkpoint, "item_shape": self.item_shape, "seed": seed, **given})


def _written(model: str, options: dict[str, Any]) -> str:
    """The spec, without what is so by default."""
    usual = {"checkpoint": None, "item_shape": (1, 28, 28), "seed": 0}
    shown = [f"{name}={value!r}" for name, value in options.items() if name not in usual or usual[name] != value]
    return f"net:{model}" + (f"({', '.join(shown)})" if shown else "")


@dataclass(frozen=True)
class Resized:
    """A picture as pixels in 0..1 ``[channels, height, width]``: its centre in these proportions, resized (bilinear).

    Args:
        channels: 1: grey; 3: colours.
        height: in pixels.
        width: in pixels.
    """

    channels: int
    height: int
    width: int

    @property
    def mean(self) -> tuple[float, ...]:
        """What is subtracted from each channel: nothing; see `fewshot.augmentation`."""
        return (0.0,) * self.channels

    @property
    def std(self) -> tuple[float, ...]:
        """What each channel is divided by."""
        return (1.0,) * self.channels

    def __call__(self, image: Any) -> Tensor:
        """Prepare one PIL image: ``[channels, height, width]``, float32."""
        from PIL import Image, ImageOps

        image = image.convert("L" if self.channels == 1 else "RGB")
        if image.size != (self.width, self.height):
            image = ImageOps.fit(image, (self.width, self.height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image)).float().div_(255)
        return pixels.unsqueeze(0) if self.channels == 1 else pixels.permute(2, 0, 1).contiguous()

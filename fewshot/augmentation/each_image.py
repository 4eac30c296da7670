"""`EachImage`: a transform of torchvision as an augmentation, one image after the other."""

from __future__ import annotations

from threading import Lock
from typing import Any

import torch
from torch import Tensor

from fewshot.randomness import seeded

_lock = Lock()  # torchvision draws from torch's global generator, which threads share


class EachImage:
    """Applies a transform to each image by itself, with random numbers that the generator given decides.

    Args:
        transform: tensor ``[C, H, W]`` with pixels in 0..1 -> a tensor of the same shape.
    """

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Change images ``[..., C, H, W]`` at random; torch's global random numbers are as before afterwards.

        Raises:
            ValueError: the transform changes the shape.
        """
        images = rows.flatten(0, -4)
        seeds = torch.randint(2**62, (len(images),), generator=generator).tolist()
        changed = []
        for image, seed in zip(images, seeds, strict=True):
            with _lock, seeded(image.device, seed):
                changed.append(self.transform(image))
            if not isinstance(changed[-1], Tensor) or changed[-1].shape != image.shape:
                got = list(changed[-1].shape) if isinstance(changed[-1], Tensor) else type(changed[-1]).__name__
                raise ValueError(
                    f"augment={self!r} makes {got} of an image {list(image.shape)}; it must keep type and shape."
                )
        return torch.stack(changed).view(rows.shape) if changed else rows

    def __repr__(self) -> str:
        return repr(self.transform)

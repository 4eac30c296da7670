"""`Augmentation`: operations on batches of images, each image with random numbers of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from fewshot.registry import spec_string

Augment = Callable[[Tensor, torch.Generator], Tensor]  # (rows [..., *x], generator) -> rows


class Operation:
    """One change of images, as a function of random numbers that are given to it.

    Class attributes:
        name: in spec strings.
        numbers: random numbers that each image needs.
        pixels: whether it means pixels in 0..1; geometry does not care.
    """

    name: ClassVar[str] = ""
    numbers: ClassVar[int] = 1
    pixels: ClassVar[bool] = False

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Change images ``[B, C, H, W]`` by numbers in 0..1 ``[B, numbers]``."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return spec_string(self.name, self)


class Augmentation:
    """Operations in sequence: (images ``[..., C, H, W]``, generator) -> images.

    It is a plain function of the generator's numbers; the images that it is given are not changed.

    Args:
        operations: applied in this order.

    >>> from fewshot.augmentation import load_augmentation
    >>> augment = load_augmentation("flip | crop(0.8)")
    >>> augment(torch.rand(2, 3, 8, 8), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = tuple(operations)

    @property
    def numbers(self) -> int:
        """Random numbers that each image needs."""
        return sum(operation.numbers for operation in self.operations)

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Change images ``[..., C, H, W]`` at random."""
        images = rows.flatten(0, -4) if rows.ndim > 4 else rows
        draws = torch.rand(len(images), self.numbers, generator=generator, device=generator.device)
        return self.apply(images, draws.to(images.device)).view(rows.shape)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Change images ``[B, C, H, W]`` by given numbers in 0..1 ``[B, numbers]``.

        Raises:
            ValueError: rows that are no images, or not of floating point.
        """
        if images.ndim != 4 or not images.is_floating_point():
            raise ValueError(
                f"augment={str(self)!r} is of images [B, C, H, W] of floating point, but rows are {images.dtype} "
                f"{list(images.shape)}."
            )
        for operation, part in zip(
            self.operations, draws.split([operation.numbers for operation in self.operations], 1), strict=True
        ):
            images = operation.apply(images, part.to(images.dtype))
        return images

    def of_picture(self, picture: Any, generator: Any) -> Any:
        """(PIL image, `numpy.random.Generator`) -> PIL image, as `fewshot.embed` takes it."""
        import numpy as np
        from PIL import Image

        pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).float() / 255
        draws = torch.from_numpy(generator.random((1, self.numbers))).float()
        changed = self.apply(pixels.unsqueeze(0), draws)[0].clamp(0, 1).mul(255).round().to(torch.uint8)
        return Image.fromarray(changed.permute(1, 2, 0).contiguous().numpy())

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.operations))


def checked_share(what: str, value: float, low: float, high: float) -> float:
    """A number within its range.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{what}={value!r}; it must be a number in {low:g}..{high:g}.")
    return float(value)

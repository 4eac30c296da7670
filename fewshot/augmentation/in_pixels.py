"""`InPixels`: an augmentation of images that an encoder's transform has normalised."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fewshot.augmentation.augmentation import Augment, Augmentation
from fewshot.augmentation.each_image import EachImage


class InPixels:
    """Puts normalisation back, changes the images, and normalises again.

    Args:
        augment: of pixels in 0..1.
        mean: that was subtracted from each channel.
        std: that it was divided by.
    """

    def __init__(self, augment: Augmentation | EachImage, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.augment, self.mean, self.std = augment, tuple(mean), tuple(std)

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Change normalised images ``[..., C, H, W]``."""
        mean, std = self._of(rows)
        return (self.augment((rows * std + mean).clamp(0, 1), generator) - mean) / std

    @property
    def numbers(self) -> int:
        """Random numbers that each image needs; 0 where it draws its own."""
        return getattr(self.augment, "numbers", 0)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Change normalised images by given numbers, as `Augmentation.apply`."""
        mean, std = self._of(images)
        assert isinstance(self.augment, Augmentation)
        return (self.augment.apply((images * std + mean).clamp(0, 1), draws) - mean) / std

    def _of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows.new_tensor(self.mean).view(-1, 1, 1), rows.new_tensor(self.std).view(-1, 1, 1)

    def __repr__(self) -> str:
        return repr(self.augment)


def for_inputs(augment: Augment | None, transform: Any, name: str) -> Augment | None:
    """An augmentation for what an encoder's transform gives.

    A function is taken as it is: it is given what the network is given. Specs and transforms of torchvision mean
    pixels in 0..1, so the normalisation must be known.

    Args:
        augment: as `load_augmentation` gives it.
        transform: of the encoder, or None where rows are pixels already.
        name: of the encoder, for the message.

    Raises:
        ValueError: the transform does not say how it normalises, and the augmentation needs pixels.
    """
    if augment is None or transform is None or not isinstance(augment, (Augmentation, EachImage)):
        return augment
    found = _normalisation(transform)
    if found is not None:
        return InPixels(augment, *found)
    if isinstance(augment, Augmentation) and not any(operation.pixels for operation in augment.operations):
        return augment
    raise ValueError(
        f"augment={augment!r} changes pixels, but the transform of {name!r} does not say by which mean and std it "
        "normalises them; use flip and crop alone, or a function (inputs, generator) -> inputs."
    )


def _normalisation(transform: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    mean, std = getattr(transform, "mean", None), getattr(transform, "std", None)
    if mean is not None and std is not None:
        return tuple(map(float, mean)), tuple(map(float, std))
    steps = list(getattr(transform, "transforms", []))
    return _normalisation(steps[-1]) if steps else None

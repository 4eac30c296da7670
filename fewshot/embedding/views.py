"""Augmented views: the same item seen several times, each time at random but always the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Augment = Callable[[Any, np.random.Generator], Any]  # (PIL image, random numbers) -> PIL image


def crop_and_flip(image: Any, generator: np.random.Generator) -> Any:
    """A random part of an image, 50-100 % of its area at 3/4 to 4/3 of its shape, mirrored half of the time.

    Args:
        image: PIL image.
        generator: where chance comes from.

    Reference: Szegedy, Liu, Jia et al., "Going deeper with convolutions", CVPR 2015, arXiv:1409.4842.
    """
    width, height = image.size
    area, shape = generator.uniform(0.5, 1.0), np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
    part_width = min(width, max(1, round(width * np.sqrt(area * shape))))
    part_height = min(height, max(1, round(height * np.sqrt(area / shape))))
    left = int(generator.integers(width - part_width + 1))
    top = int(generator.integers(height - part_height + 1))
    image = image.crop((left, top, left + part_width, top + part_height))
    from PIL import Image

    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else image


def view_fields(views: int, seed: int) -> list[dict[str, int]]:
    """What the content key of each view holds besides the content; nothing where there are no views."""
    return [{"view": view, "seed": seed} for view in range(views)] if views else [{}]


def view_generator(key: NDArray[np.uint8]) -> np.random.Generator:
    """Random numbers of one view: its key holds content, view and seed, so it depends on nothing else."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key.tobytes(), "little")))

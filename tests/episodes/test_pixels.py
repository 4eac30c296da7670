"""Arrays as images: depths of grey levels, and what transforms give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from episodes import ImageSource
from episodes.pixels import as_input, to_eight_bits

RANDOM = np.random.default_rng(0)


def noise(height: int = 30, width: int = 40) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_levels_beyond_16_bits() -> None:
    for levels in ([-1, 5], [0, 70_000]):
        with pytest.raises(ValueError, match="at most 16 bits"):
            to_eight_bits(np.array(levels))


def test_what_transforms_give() -> None:
    pixels = noise()
    expected = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    forms: list[Any] = [
        np.asarray, lambda image: {"pixel_values": expected[None]}, lambda image: {"image": np.asarray(image)},
        lambda image: np.asarray(image) / 255, lambda image: {"pixel_values": [expected.numpy()], "size": 3},
        lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1),
    ]  # fmt: skip
    for transform in forms:
        found = ImageSource([pixels], [0], transform=transform)
        torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-7)
        assert found.fingerprint()
    for wrong, message in (
        (lambda image: image.convert("L"), "gives a Image"),
        (lambda image: {"a": 1, "b": 2}, "gives a mapping of a, b"),
    ):
        with pytest.raises(ValueError, match=rf"\(row 0 of 'images'\): the transform {message}"):
            ImageSource([pixels], [0], transform=wrong)[0]
    with pytest.raises(ValueError, match="a mapping of nothing"):
        as_input({})

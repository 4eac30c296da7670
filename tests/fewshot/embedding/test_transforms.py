"""What a transform may give, and sizes of pictures that a network does not take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from input_examples import colour, write_owl
from PIL import Image
from torch import Tensor, nn

from fewshot import embed
from fewshot.encoders import ModuleEncoder


def keep_size(image: Any) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def as_dictionary(image: Any) -> dict[str, Any]:
    return {"pixel_values": keep_size(image.resize((32, 32)))[None]}


def as_array(image: Any) -> Any:
    return np.asarray(image.resize((32, 32))) / 255


class TestTransforms:
    IMAGES = tuple(np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8))

    def net(self) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7))

    @pytest.mark.parametrize("transform", [keep_size, as_dictionary, as_array])
    def test_a_net_for_images_of_32_pixels(self, transform: Any, tmp_path: Path) -> None:
        model = ModuleEncoder(self.net(), transform)
        expected = model.encode_images(torch.stack([keep_size(Image.fromarray(i)) for i in self.IMAGES])).detach()
        for _ in range(2):  # the second time from the cache, canaries included
            found = embed(list(self.IMAGES), model, cache=tmp_path, storage="float32", progress=False)
            torch.testing.assert_close(found.features, expected, rtol=1e-4, atol=1e-5)
        assert found.report["hits"] == 5
        assert model.dim == (None if transform is keep_size else 7)

    def test_a_size_that_the_net_does_not_take_is_said(self) -> None:
        with pytest.raises(
            RuntimeError, match=r"'Sequential' cannot encode a batch \[1, 3, 30, 40\] of torch\.float32"
        ):
            embed([colour(1, 2, 3)], ModuleEncoder(self.net(), keep_size), cache=False)
        sizes = [self.IMAGES[0], colour(1, 2, 3)]
        with pytest.raises(ValueError, match="needs a transform that resizes"):
            embed(sizes, ModuleEncoder(nn.Conv2d(3, 2, 3), keep_size), cache=False)
        kept = embed(sizes, ModuleEncoder(nn.Conv2d(3, 2, 3), keep_size), cache=False, on_error="skip")
        assert len(kept) == len(kept.report["skipped"]) == 1

    def test_what_is_no_image_is_named(self) -> None:
        model = ModuleEncoder(self.net(), lambda image: {"a": 1, "b": 2})
        with pytest.raises(ValueError, match=r"picture \(row 0 .*the transform gives a mapping of a, b"):
            embed(list(self.IMAGES), model, cache=False)

    @pytest.mark.parametrize("transform", [keep_size, as_dictionary, None])
    def test_half_precision(self, transform: Any) -> None:
        images = list(self.IMAGES) if transform else torch.rand(5, 3, 32, 32)
        exact = embed(images, ModuleEncoder(self.net(), transform), cache=False)
        for dtype in (torch.bfloat16, torch.float16, torch.float64):
            half = embed(images, ModuleEncoder(self.net().to(dtype), transform), cache=False)
            torch.testing.assert_close(half.features.float(), exact.features.float(), rtol=0.05, atol=0.05)

    def test_unreadable_images_at_the_beginning(self, tmp_path: Path) -> None:
        items = [f"gone-{number}.png" for number in range(20)] + [write_owl(tmp_path)]
        found = embed(items, ModuleEncoder(nn.Conv2d(3, 2, 3), keep_size), cache=False, on_error="skip")
        assert len(found) == 1

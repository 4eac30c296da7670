"""Augmentation: each operation against torchvision's function of the same numbers; specs; training with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as V

from episodes import EpisodeSampler, TensorSource
from fewshot import fine_tune, meta_train
from fewshot.augmentation import list_augmentations, load_augmentation
from fewshot.augmentation.geometry import Crop
from fewshot.augmentation.in_pixels import for_inputs
from fewshot.encoders import ModuleEncoder, Preprocess
from fewshot.nets.conv4 import Conv4

IMAGES = torch.rand(6, 3, 20, 28, generator=torch.Generator().manual_seed(0))
DRAWS = torch.rand(6, 8, generator=torch.Generator().manual_seed(1))


def applied(spec: str) -> Tensor:
    augment: Any = load_augmentation(spec)
    before = IMAGES.clone()
    found: Tensor = augment.apply(IMAGES, DRAWS[:, : augment.numbers])
    assert torch.equal(IMAGES, before)
    return found


def test_crop_is_a_part_resized() -> None:
    left, top, width, height = Crop(0.3).boxes(DRAWS[:, :4], 20, 28)
    assert (width < 28).any() and (left + width <= 28).all() and (top + height <= 20).all()
    for image, found, x, y, w, h in zip(IMAGES, applied("crop(0.3)"), left, top, width, height, strict=True):
        expected = V.resized_crop(image, int(y), int(x), int(h), int(w), [20, 28], antialias=False)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_colors_flip_and_grey() -> None:
    for image, draw, found in zip(IMAGES, DRAWS, applied("color(0.4)"), strict=True):
        bright, contrast, saturation = (1 + 0.4 * (2 * draw[:3] - 1)).tolist()
        expected = V.adjust_contrast(V.adjust_brightness(image, bright), contrast)
        torch.testing.assert_close(found, V.adjust_saturation(expected, saturation), atol=1e-4, rtol=0)
    for image, draw, mirrored, grey in zip(IMAGES, DRAWS, applied("flip"), applied("grey(0.5)"), strict=True):
        assert torch.equal(mirrored, V.horizontal_flip(image) if draw[0] < 0.5 else image)
        torch.testing.assert_close(grey, V.rgb_to_grayscale(image, 3) if draw[0] < 0.5 else image, atol=1e-4, rtol=0)
    assert (DRAWS[:, 0] < 0.5).any() and not (DRAWS[:, 0] < 0.5).all()


def test_rotation_and_shift() -> None:
    for image, draw, turned, moved in zip(IMAGES, DRAWS, applied("rotate(40)"), applied("shift(0.5)"), strict=True):
        angle = float((2 * draw[0] - 1) * 40)
        expected = V.rotate(image, angle, interpolation=v2.InterpolationMode.BILINEAR)
        torch.testing.assert_close(turned, expected, atol=1e-3, rtol=0)
        right, down = (round(float((2 * draw[axis] - 1) * 0.5 * size)) for axis, size in ((0, 28), (1, 20)))
        torch.testing.assert_close(moved, V.affine(image, 0.0, [right, down], 1.0, [0.0, 0.0]))


def test_an_erased_rectangle() -> None:
    gone = (applied("erase(p=1.0)") == 0).all(1)  # [B, H, W]
    for one in gone:
        lines, columns = one.any(1).nonzero().flatten(), one.any(0).nonzero().flatten()
        assert one[lines[0] : lines[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert 0.01 < one.float().mean() < 0.3
    assert torch.equal(applied("erase(p=0.0)"), IMAGES)


def test_each_image_by_itself_and_by_the_generator_alone() -> None:
    augment: Any = load_augmentation("flip | crop(0.5) | color(0.3) | rotate | shift | grey | erase")
    state = torch.random.get_rng_state()
    rows = IMAGES.view(2, 3, 3, 20, 28)
    found = augment(rows, torch.Generator().manual_seed(5))
    assert torch.equal(found, augment(rows, torch.Generator().manual_seed(5)))
    assert found.shape == rows.shape and not torch.equal(found, augment(rows, torch.Generator().manual_seed(6)))
    assert torch.equal(state, torch.random.get_rng_state())
    draws = torch.rand(6, augment.numbers, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([augment.apply(IMAGES[n : n + 1], draws[n : n + 1]) for n in range(6)])
    torch.testing.assert_close(augment.apply(IMAGES, draws), alone, atol=1e-6, rtol=0)


def test_a_transform_of_torchvision() -> None:
    augment: Any = load_augmentation(v2.RandomErasing(p=1.0))
    state = torch.random.get_rng_state()
    found = augment(IMAGES, torch.Generator().manual_seed(0))
    assert torch.equal(found, augment(IMAGES, torch.Generator().manual_seed(0))) and not torch.equal(found, IMAGES)
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(ValueError, match="it must keep type and shape"):
        load_augmentation(v2.Resize(4))(IMAGES, torch.Generator())  # type: ignore[misc]


def test_specs() -> None:
    for name in list_augmentations():
        assert repr(load_augmentation(name)) == name
    assert repr(load_augmentation("crop(0.5)")) == "crop(scale=0.5)"
    for wrong, words in (
        ("flop", "unknown augmentation 'flop'; did you mean 'flip'"),
        ("flip(2)", "p=2; it must be a number in 0..1"),
        ("crop(area=1)", "'crop' has no argument 'area'"),
        ("crop(0.5, scale=1)", "were given without a name"),
    ):
        with pytest.raises(ValueError, match=words):
            load_augmentation(wrong)
    with pytest.raises(TypeError, match="augment=3; give a spec"):
        load_augmentation(3)
    with pytest.raises(ValueError, match=r"is of images \[B, C, H, W\]"):
        load_augmentation("flip")(torch.zeros(4, 5), torch.Generator())  # type: ignore[misc]


def test_after_a_transform_that_normalises() -> None:
    transform = Preprocess(size=20, resize=20, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (transform.mean, transform.std))
    augment: Any = load_augmentation("color(0.4) | shift")
    inner: Any = for_inputs(augment, transform, "encoder")
    found = inner((IMAGES - mean) / std, torch.Generator().manual_seed(0))
    expected = (augment(IMAGES, torch.Generator().manual_seed(0)) - mean) / std
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="does not say by which mean and std"):
        for_inputs(augment, torch.nn.Identity(), "encoder")
    assert for_inputs(load_augmentation("flip"), torch.nn.Identity(), "encoder") is not None


def test_in_fine_tuning_and_in_meta_training() -> None:
    labels = torch.arange(24) % 3
    rows = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * (labels + 1)[:, None, None, None] / 3
    source = TensorSource(rows, labels)

    def losses(augment: Any) -> list[float]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoder = ModuleEncoder(Conv4((3, 32, 32), channels=4))
        tuned = fine_tune(encoder, source, "last(1)", epochs=2, augment=augment, cache=False, progress=False)
        sampler = EpisodeSampler(labels, 3, 2, 2)
        learner = "conv4(item_shape=(3, 32, 32), channels=4) | prototypes"
        trained = meta_train(learner, source, sampler, steps=2, batch=1, every=1, augment=augment, progress=False)
        return [report["loss"] for report in (*tuned.history[0], *trained.history)]

    found = losses("flip | color(0.5)")
    assert found == losses("flip | color(0.5)")
    assert all(one != other for one, other in zip(found, losses(None), strict=True))

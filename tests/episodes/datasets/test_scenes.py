"""`scenes`: the same images under six label spaces, pinned to the very pixels."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from episodes import load_dataset
from episodes.datasets.scene_drawing import BACKGROUNDS, COLOURS, SHAPES
from episodes.datasets.scenes import PAIRS, SPACES, attributes, held_out


def test_label_spaces_share_the_images() -> None:
    sources = {space: load_dataset(f"scenes:{space}", count=60) for space in (*SPACES, "pair")}
    first = sources["shape"].features
    assert first.shape == (60, 3, 64, 64) and first.dtype == torch.uint8
    for space, source in sources.items():
        assert torch.equal(source.features, first), space
        assert source.class_names == list(PAIRS if space == "pair" else SPACES[space])
    pair = sources["pair"]
    names = [pair.class_names[label] for label in pair.labels.tolist()]
    for row, name in enumerate(names):
        colour, shape = name.split()
        assert SHAPES[sources["shape"].labels[row]] == shape and COLOURS[sources["colour"].labels[row]] == colour


def test_a_scene_depends_on_seed_and_number_only() -> None:
    many, few = load_dataset("scenes:shape", count=700), load_dataset("scenes:shape", count=30)
    assert torch.equal(many.features[:30], few.features)
    assert not torch.equal(load_dataset("scenes:shape", count=30, seed=1).features, few.features)
    assert np.array_equal(attributes(3, 5, 10), attributes(3, 0, 15)[5:])


def test_pixels_are_pinned() -> None:
    """Trigonometry may differ in the last bit between machines, so a coarse digest: means of 16 x 16 blocks in steps of 4."""
    pixels = load_dataset("scenes:shape", count=40).features.double()
    blocks = (torch.nn.functional.avg_pool2d(pixels, 16) / 4).round().to(torch.uint8)
    assert hashlib.sha256(blocks.numpy().tobytes()).hexdigest()[:16] == "129e67dd8a426515"


def test_attributes_are_balanced_and_the_object_shows() -> None:
    what = attributes(0, 0, 20_000)
    for column, names in enumerate(SPACES.values()):
        share = np.bincount(what[:, column], minlength=len(names)) / len(what) * len(names)
        assert share.min() > 0.85 and share.max() < 1.15
    assert all(BACKGROUNDS[ground] != COLOURS[colour] for colour, ground in what[:, 1:3].tolist())


def test_pairs_apart() -> None:
    apart = [pair for pair in range(100) if held_out(pair)]
    assert len(apart) == 20
    assert np.bincount([pair % 10 for pair in apart]).tolist() == [2] * 10
    assert np.bincount([pair // 10 for pair in apart]).tolist() == [2] * 10
    assert set(load_dataset("scenes:pair", count=200, pairs="held-out").labels.tolist()) <= set(apart)
    assert not set(load_dataset("scenes:pair", count=200, pairs="seen").labels.tolist()) & set(apart)


def test_the_colour_of_the_ground_is_in_the_corners() -> None:
    source = load_dataset("scenes:background", count=300)
    from episodes.datasets.scene_drawing import PALETTE

    corner = source.features[:, :, :4, :4].double().mean((2, 3)) / 255
    nearest = torch.cdist(corner, torch.from_numpy(PALETTE).double()).argmin(1)
    assert (nearest == source.labels).double().mean() > 0.9


@pytest.mark.parametrize(
    ("options", "words"),
    [({"space": "smell"}, "shape, colour"), ({"pairs": "some"}, "held-out"), ({"count": 0}, "count=0")],
)
def test_bad_requests(options: dict, words: str) -> None:
    from episodes.datasets.scenes import scenes

    with pytest.raises(ValueError, match=words):
        scenes(**options)

"""`Plan`: views, duplicates, and content keys of what was once read differently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedding_examples import encoder, write_photographs
from PIL import Image

from episodes.any_source import as_source
from fewshot import embed


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_photographs(tmp_path_factory.mktemp("photographs"))


def test_grey_levels_of_an_older_reading_are_not_served(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(tmp_path / "usual.png")
    from fewshot.cache.fingerprint import item_key
    from fewshot.embedding.plan import content_key

    source = as_source([tmp_path / "deep.png", tmp_path / "usual.png"], encoder(dim=5))
    deep, usual = source.read(0), source.read(1)
    assert content_key(source, deep, {}) != item_key("file", deep)
    assert content_key(source, usual, {}) == item_key("file", usual)


def test_duplicates_are_computed_once(photographs: list[Path]) -> None:
    model = encoder(dim=5)
    source = embed(photographs * 3, model, cache=False)
    assert model.module.seen == 11
    assert (source.report["computed"], source.report["duplicates"], len(source)) == (11, 22, 33)
    assert torch.equal(source.features[:11], source.features[22:])


class TestViews:
    def test_rows_are_means_of_views_that_the_seed_decides(self, photographs: list[Path], tmp_path: Path) -> None:
        model = encoder()
        two = embed(photographs, model, cache=tmp_path, views=2)
        again = embed(photographs[::-1], model, cache=False, views=2, workers=1, batch_size=5)
        assert two.features.shape == (11, 5)
        assert torch.equal(again.features.flip(0), two.features)
        three = embed(photographs, model, cache=tmp_path, views=3)
        assert (three.report["hits"], three.report["computed"]) == (22, 11)
        other = embed(photographs, model, cache=tmp_path, views=2, seed=1)
        assert other.report["hits"] == 0
        assert not torch.equal(other.features, two.features)

    def test_an_augmentation_of_ones_own(self, photographs: list[Path]) -> None:
        model = encoder()
        plain = embed(photographs, model, cache=False, storage="float32")
        same = embed(photographs, model, cache=False, storage="float32", views=2, augment=unchanged)
        torch.testing.assert_close(same.features, plain.features, rtol=1e-4, atol=1e-5)


def unchanged(image: Any, generator: np.random.Generator) -> Any:
    return image

"""Canaries: changed encoder output is noticed before rows are written or served."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from embedding_examples import encoder, write_photographs
from torch import nn

from episodes.schema import read_json
from fewshot import embed
from fewshot.cache import EmbeddingCache, StaleCacheError
from fewshot.cache.space import Space
from fewshot.embedding.canary import compare, keep_canary, kept_canary


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_photographs(tmp_path_factory.mktemp("photographs"))


ROWS = np.random.default_rng(0).normal(size=(4, 6))


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return EmbeddingCache(tmp_path).space({"dim": 6, "storage": "float32", "encoder": "test"})


def test_drift_is_noticed(space: Space) -> None:
    assert kept_canary(space) is None
    keep_canary(space, "images", ROWS)
    kept = kept_canary(space)
    assert kept is not None and kept["name"] == "images"
    compare(kept, ROWS * (1 + 1e-6), space)
    with pytest.raises(StaleCacheError, match="cosine"):
        compare(kept, ROWS + np.array([0.2, 0, 0, 0, 0, 0]), space)
    with pytest.raises(StaleCacheError, match="shape"):
        compare(kept, ROWS[:2], space)


@pytest.mark.parametrize(
    "content", ["{", '{"rows": 3}', '{"rows": [[1, "a"]]}', '{"rows": [[1], [1, 2]]}', "[" * 99_999]
)
def test_a_damaged_file_is_named_and_written_anew(space: Space, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (space.path / "canary.json").write_text(content)
    with caplog.at_level(logging.WARNING, "fewshot"):
        assert kept_canary(space) is None
    assert "canary.json" in caplog.text
    keep_canary(space, "images", ROWS)
    assert read_json(space.path / "canary.json")["name"] == "images"


def test_drift_is_noticed_before_anything_is_written(
    photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(photographs[:4], encoder(), cache=tmp_path)
    monkeypatch.setattr("fewshot.embedding.canary._checked", set())  # as in a new process
    drifted = encoder()
    monkeypatch.setattr(  # as a library of another version might, whose layers are known by name alone
        nn.BatchNorm2d, "forward", lambda self, x: x * self.weight.view(-1, 1, 1) + x.mean()
    )
    with pytest.raises(StaleCacheError, match=r"cosine"):
        embed(photographs, drifted, cache=tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("fewshot.embedding.canary._checked", set())
    assert embed(photographs, encoder(), cache=tmp_path).report["hits"] == 4


def test_drift_is_noticed_where_everything_is_cached(
    photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = torch.rand(5, 3, 8, 8)
    cases = ((photographs[:4], {}), (rows, {"transform": None}))  # with a transform, and without
    for dataset, options in cases:
        embed(dataset, encoder(**options), cache=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("fewshot.embedding.canary._checked", set())  # as in a new process
        patch.setattr(
            nn.BatchNorm2d, "forward", lambda self, x: x * self.weight.view(-1, 1, 1) + x.mean((0, 2, 3), True)
        )
        for dataset, options in cases:
            with pytest.raises(StaleCacheError, match=r"cosine"):
                embed(dataset, encoder(**options), cache=tmp_path)
    for dataset, options in cases:
        assert embed(dataset, encoder(**options), cache=tmp_path).report["hits"] == len(dataset)

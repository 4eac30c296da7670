"""Canaries: changed encoder output is noticed before rows are written or served."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from episodes.schema import read_json
from fewshot.cache import EmbeddingCache, StaleCacheError
from fewshot.cache.space import Space
from fewshot.embedding.canary import compare, keep_canary, kept_canary

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

"""Tables: mapped above the memory limit, checked once, made again where damaged."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from cache_examples import DIM, SPEC, fill, flip, is_right, keys_of, rows_of

from fewshot.cache import EmbeddingCache


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


def test_a_large_table_stays_on_disk(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    fill(space, range(200), flush=50)
    order = np.random.default_rng(0).permutation(200)
    keys = keys_of(range(200))[order]
    table = space.table(keys, memory_limit_bytes=1000)
    assert isinstance(table, np.memmap)
    np.testing.assert_array_equal(table, rows_of(range(200))[order])
    assert isinstance(space.table(keys, memory_limit_bytes=10**9), torch.Tensor)


def test_memory_counts_what_is_held(cache: EmbeddingCache) -> None:
    space = cache.space({**SPEC, "storage": "float16"})
    fill(space, range(1000))
    assert isinstance(space.table(keys_of(range(1000)), memory_limit_bytes=1000 * DIM * 3), np.memmap)
    table = space.table(keys_of(range(1000)), memory_limit_bytes=1000 * DIM * 4)
    assert isinstance(table, torch.Tensor)
    assert table.dtype == torch.float32


def test_a_flipped_byte_in_a_table_is_noticed(cache: EmbeddingCache, caplog: pytest.LogCaptureFixture) -> None:
    space = cache.space(SPEC)
    fill(space, range(100))
    order = np.random.default_rng(0).permutation(100)
    for place in (0, 12_345, -1, -20):
        table = space.table(keys_of(order), memory_limit_bytes=1)
        assert isinstance(table, np.memmap)
        assert is_right(space, order, table)  # type: ignore[arg-type]
        [path] = space.path.glob("*.table")
        os.utime(path, (1, 1))
        flip(path, place)
        assert is_right(space, order, space.table(keys_of(order), memory_limit_bytes=1))  # type: ignore[arg-type]
    assert "does not match its checksum; it is made again" in caplog.text
    flip(path, 7)
    assert cache.verify() == {space.id: [path.name]}
    assert cache.verify() == {}


def test_a_table_is_checked_once(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    from fewshot.cache import table

    monkeypatch.setattr(table, "_SETTLED_SECONDS", -1.0)
    space = cache.space(SPEC)
    fill(space, range(100))
    space.table(keys_of(range(100)), memory_limit_bytes=1)
    monkeypatch.setattr(table, "_verified", {})
    checked = []
    original = table._matches
    monkeypatch.setattr(table, "_matches", lambda path: checked.append(path) or original(path))
    for _ in range(3):
        space.table(keys_of(range(100)), memory_limit_bytes=1)
    assert len(checked) == 1


def test_tables_of_earlier_versions_are_made_again(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    fill(space, range(100))
    space.table(keys_of(range(100)), memory_limit_bytes=1)
    [path] = space.path.glob("*.table")
    path.write_bytes(b"\1" * (100 * DIM * 4))
    assert is_right(space, range(100), space.table(keys_of(range(100)), memory_limit_bytes=1))


def test_threads_map_one_table(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    fill(space, range(3000))
    keys = keys_of(np.random.default_rng(0).permutation(3000))
    with ThreadPoolExecutor(8) as pool:
        spaces = [cache.space(SPEC) for _ in range(4)] + [space] * 4
        tables = list(pool.map(lambda one: one.table(keys, memory_limit_bytes=1), spaces))
    assert all(np.array_equal(table, tables[0]) for table in tables)
    assert len(list(space.path.glob("*.table"))) == 1
    assert not list(space.path.glob("*.tmp"))

"""Compaction: duplicates go, small files are merged, readers and other writers lose nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from cache_examples import SPEC, fill, is_right, keys_of, rows_of, segments

from fewshot.cache import EmbeddingCache


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


def test_duplicates_are_harmless_and_compaction_removes_them(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    fill(space, range(40))
    fill(space, range(20, 60))
    reader = cache.space(SPEC)
    assert cache.compact(space.id[:6]) == 60
    assert len(segments(space)) == 1
    # A reader that still has the old list of files lists them again.
    assert torch.equal(reader.read(keys_of(range(60))), torch.from_numpy(rows_of(range(60))))


def test_many_small_writes_leave_few_files(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    reader = cache.space(SPEC)
    for number in range(300):
        fill(space, range(number, number + 1))
    assert len(segments(space)) <= 40
    assert not reader.contains(keys_of([299])).any()
    assert is_right(space, range(300), space.read(keys_of(range(300))))
    reader.refresh()
    assert is_right(reader, range(300), reader.read(keys_of(range(300))))


def test_writers_that_merge_at_the_same_time_lose_nothing(cache: EmbeddingCache) -> None:
    def work(first: int) -> None:
        space = cache.space(SPEC)
        for number in range(first, first + 60):
            fill(space, range(number, number + 1))

    def look() -> None:
        while not done.is_set():
            space = cache.space(SPEC)
            held = np.flatnonzero(space.contains(keys_of(range(200))))
            assert is_right(space, held, space.read(keys_of(held)))  # type: ignore[arg-type]
            assert set(seen) <= set(held.tolist()), "a row that was there is gone"
            seen.update(held.tolist())

    done, seen = threading.Event(), set()
    with ThreadPoolExecutor(4) as pool:
        looking = pool.submit(look)
        list(pool.map(work, (0, 40, 80)))
        done.set()
        looking.result()
    space = cache.space(SPEC)
    assert is_right(space, range(140), space.read(keys_of(range(140))))
    assert len(segments(space)) <= 60

"""`Writer`: only finite rows are stored, and what was committed survives errors, full disks and kills."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cache_examples import DIM, SPEC, fill, keys_of, rows_of

from fewshot.cache import CacheWriteError, EmbeddingCache


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused(cache: EmbeddingCache, bad: float) -> None:
    space, rows = cache.space(SPEC), rows_of(range(4))
    rows[2, 1] = bad
    with space.writer() as writer, pytest.raises(ValueError, match="the embedding number 2 of this batch is NaN"):
        writer.add(keys_of(range(4)), rows)
    assert len(space) == 0


def test_overflow_of_half_precision_is_refused(cache: EmbeddingCache) -> None:
    space = cache.space({**SPEC, "storage": "float16"})
    with space.writer() as writer, pytest.raises(ValueError, match="too large for float16; use storage='float32'"):
        writer.add(keys_of(range(1)), np.full((1, DIM), 1e6))
    with space.writer() as writer, pytest.raises(ValueError, match=r"rows are \[1, 5\]; they must be \[1, 64\]"):
        writer.add(keys_of(range(1)), np.ones((1, 5)))


def test_what_was_added_before_an_error_is_kept(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    with pytest.raises(KeyboardInterrupt), space.writer() as writer:
        writer.add(keys_of(range(7)), rows_of(range(7)))
        raise KeyboardInterrupt
    assert space.contains(keys_of(range(7))).all()


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission denied")],
)
def test_a_failed_write_is_explained_and_leaves_nothing(cache, monkeypatch, number, message) -> None:  # type: ignore[no-untyped-def]
    space = cache.space(SPEC)
    fill(space, range(5))

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fewshot.cache.segment.os.fsync", fail)
    writer = space.writer()
    writer.add(keys_of(range(5, 9)), rows_of(range(5, 9)))
    with pytest.raises(CacheWriteError, match=f"{message}.*Earlier rows are safe"):
        writer.flush()
    monkeypatch.undo()
    assert not list(space.path.glob("*.tmp"))
    assert torch.equal(cache.space(SPEC).read(keys_of(range(5))), torch.from_numpy(rows_of(range(5))))
    writer.flush()  # the rows are still there to be written
    assert len(cache.space(SPEC)) == 9


def test_a_file_size_limit_acts_like_a_full_disk(tmp_path: Path) -> None:
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from fewshot.cache import CacheWriteError, EmbeddingCache
from cache_examples import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
cache = EmbeddingCache({str(tmp_path / "cache")!r})
space = cache.space(SPEC)
fill(space, range(20))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    fill(space, range(20, 5000))
except CacheWriteError as error:
    print(error)
print(len(cache.space(SPEC)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "size limit" in done.stdout
    assert done.stdout.splitlines()[-1] == "20"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "fewshot-test", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    cache = EmbeddingCache(small_disk / "cache")
    space = cache.space(SPEC)
    with pytest.raises(CacheWriteError, match=r"the disk is full; free some space, or prune the cache.*Earlier rows"):
        fill(space, range(20_000), flush=1_000)
    kept = len(cache.space(SPEC))
    assert kept > 0 and kept % 1_000 == 0
    assert torch.equal(cache.space(SPEC).read(keys_of(range(kept))), torch.from_numpy(rows_of(range(kept))))
    with pytest.raises(CacheWriteError, match="the disk is full"):
        fill(space, range(kept, 20_000), flush=20_000)
    assert not list(small_disk.rglob("*.tmp")), "what could not be written takes space"
    for path in small_disk.rglob("*.safetensors"):
        path.unlink()
    fill(cache.space(SPEC), range(kept, kept + 10))  # with space again, it continues
    assert len(cache.space(SPEC)) == 10


WRITER = """
import sys
sys.path.insert(0, {folder!r})
from fewshot.cache import CacheWriteError, EmbeddingCache
from cache_examples import *
space = EmbeddingCache({cache!r}).space(SPEC)
print("ready", flush=True)
with space.writer(flush_rows=50) as writer:
    for start in range({first}, {stop}, 10):
        writer.add(keys_of(range(start, start + 10)), rows_of(range(start, start + 10)))
"""


def writer_process(cache: EmbeddingCache, first: int, stop: int) -> subprocess.Popen[str]:
    code = WRITER.format(folder=str(Path(__file__).parents[2]), cache=str(cache.path), first=first, stop=stop)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def write_without_end(space: Any, started: Any) -> None:
    with space.writer(flush_rows=50) as writer:
        for start in range(0, 10_000_000, 10):
            writer.add(keys_of(range(start, start + 10)), rows_of(range(start, start + 10)))
            started.set()


def test_kill_nine_loses_at_most_the_buffer(cache: EmbeddingCache) -> None:
    random, context = np.random.default_rng(0), multiprocessing.get_context("fork")
    written = []
    for trial in range(20):
        space = cache.space({**SPEC, "encoder": f"trial {trial}"})
        started = context.Event()
        process = context.Process(target=write_without_end, args=(space, started))
        process.start()
        started.wait()
        time.sleep(random.uniform(0, 0.2))
        process.kill()
        process.join()
        space.refresh()
        assert len(space) % 50 == 0, "a part of a commit is visible"
        written.append(len(space))
        assert space.contains(keys_of(range(len(space)))).all(), "an earlier row is lost"
        assert torch.equal(space.read(keys_of(range(len(space)))), torch.from_numpy(rows_of(range(len(space)))))
        fill(space, range(len(space), len(space) + 70))  # the next run goes on
        assert len(space) == written[-1] + 70
        assert not list(space.path.glob("*.bad"))
    assert len(set(written)) > 5, "the moments were not random"


def test_four_writers_with_overlapping_keys(cache: EmbeddingCache) -> None:
    processes = [writer_process(cache, first, first + 600) for first in (0, 300, 0, 600)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    space = cache.space(SPEC)
    # Small segments are merged by whoever notices them; two that merge at once keep rows twice until the next merge.
    assert 1200 <= len(space) <= 2 * 2400
    assert torch.equal(space.read(keys_of(range(1200))), torch.from_numpy(rows_of(range(1200))))
    assert cache.compact(space.id) == 1200

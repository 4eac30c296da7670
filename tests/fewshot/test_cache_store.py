"""The embedding store: what was written comes back, or is missing; never something else."""

from __future__ import annotations

import errno
import json
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

from fewshot.cache import CacheWriteError, EmbeddingCache, MissingRowsError
from fewshot.cache.index import KeyIndex
from fewshot.cache.segment_writing import write_segment

SPEC = {"dim": 6, "storage": "float32", "encoder": "test"}


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


def keys_of(numbers: range) -> np.ndarray:
    return np.frombuffer(b"".join(number.to_bytes(16, "big") for number in numbers), np.uint8).reshape(-1, 16)


def rows_of(numbers: range) -> np.ndarray:
    """A row that can be told from its key."""
    return (np.array(numbers)[:, None] + np.arange(6) / 8).astype(np.float32)


def fill(space, numbers: range, flush: int = 8192) -> None:  # type: ignore[no-untyped-def]
    with space.writer(flush_rows=flush) as writer:
        for start in range(numbers.start, numbers.stop, 10):
            part = range(start, min(start + 10, numbers.stop))
            writer.add(keys_of(part), rows_of(part))


def segments(space) -> list[Path]:  # type: ignore[no-untyped-def]
    return sorted(space.path.glob("*.safetensors"))


# Reading back


def test_rows_come_back_in_the_order_asked(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    fill(space, range(100), flush=30)
    assert len(segments(space)) == 4
    assert len(space) == 100
    assert torch.equal(space.read(keys_of(range(100))), torch.from_numpy(rows_of(range(100))))
    order = np.random.default_rng(0).permutation(100)[:37]
    assert torch.equal(space.read(keys_of(range(100))[order]), torch.from_numpy(rows_of(range(100))[order]))
    twice = np.array([5, 5, 99])
    assert space.read(keys_of(range(100))[twice])[:, 0].tolist() == [5, 5, 99]
    out = torch.empty(37, 6, dtype=torch.float64)
    assert space.read(keys_of(range(100))[order], out=out) is out
    assert torch.equal(out.float(), torch.from_numpy(rows_of(range(100))[order]))
    assert space.read(keys_of(range(1))[:0]).shape == (0, 6)


def test_another_process_and_a_later_day_see_the_same(cache: EmbeddingCache) -> None:
    space, other = cache.space(SPEC), cache.space(SPEC)
    fill(space, range(50))
    assert not other.contains(keys_of(range(50))).any()
    other.refresh()
    assert other.contains(keys_of(range(60))).tolist() == [True] * 50 + [False] * 10
    again = EmbeddingCache(cache.path).space(SPEC)
    assert torch.equal(again.read(keys_of(range(50))), torch.from_numpy(rows_of(range(50))))


def test_missing_rows_are_named(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    fill(space, range(10))
    with pytest.raises(MissingRowsError, match=r"2 of 12 rows are not in the cache \(positions 10, 11\)"):
        space.read(keys_of(range(12)))


def test_duplicates_are_harmless_and_compaction_removes_them(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    fill(space, range(40))
    fill(space, range(20, 60))
    reader = cache.space(SPEC)
    assert cache.compact(space.id[:6]) == 60
    assert len(segments(space)) == 1
    # A reader that still knows the old files looks again.
    assert torch.equal(reader.read(keys_of(range(60))), torch.from_numpy(rows_of(range(60))))


def test_other_specs_are_other_spaces(cache: EmbeddingCache) -> None:
    ids = {cache.space({**SPEC, **change}).id for change in ({}, {"encoder": "b"}, {"dim": 7}, {"storage": "float16"})}
    assert len(ids) == 4
    assert cache.space({"encoder": "test", "storage": "float32", "dim": 6}).id == cache.space(SPEC).id
    for bad in ({"dim": 0}, {"dim": "6"}, {"storage": "int8"}):
        with pytest.raises(ValueError, match="dim must be a positive integer"):
            cache.space({**SPEC, **bad})


def test_a_large_table_stays_on_disk(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    fill(space, range(200), flush=50)
    order = np.random.default_rng(0).permutation(200)
    keys = keys_of(range(200))[order]
    table = space.table(keys, memory_limit_bytes=1000)
    assert isinstance(table, np.memmap)
    np.testing.assert_array_equal(table, rows_of(range(200))[order])
    assert isinstance(space.table(keys, memory_limit_bytes=10**9), torch.Tensor)


def test_keys_with_equal_halves_are_told_apart() -> None:
    keys = np.zeros((50, 16), np.uint8)
    keys[:, 15] = np.arange(50)  # equal first halves
    other = np.zeros((50, 16), np.uint8)
    other[:, 0] = np.arange(50)  # equal second halves
    table = np.concatenate([keys, other[1:]])
    order = np.random.default_rng(0).permutation(len(table))
    index = KeyIndex(table[order])
    np.testing.assert_array_equal(order[index.find(table)], np.arange(len(table)))
    assert (index.find(np.full((3, 16), 255, np.uint8)) == -1).all()
    assert (KeyIndex(table[:0]).find(keys) == -1).all()


# What may not be stored


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
        writer.add(keys_of(range(1)), np.full((1, 6), 1e6))
    with space.writer() as writer, pytest.raises(ValueError, match=r"rows are \[1, 5\]; they must be \[1, 6\]"):
        writer.add(keys_of(range(1)), np.ones((1, 5)))


def test_what_was_added_before_an_error_is_kept(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    with pytest.raises(KeyboardInterrupt), space.writer() as writer:
        writer.add(keys_of(range(7)), rows_of(range(7)))
        raise KeyboardInterrupt
    assert space.contains(keys_of(range(7))).all()


# Damage


@pytest.mark.parametrize("where", ["first key", "last row", "middle", "header", "cut", "empty"])
def test_a_damaged_segment_is_set_aside_and_recomputed(cache: EmbeddingCache, where: str, caplog) -> None:  # type: ignore[no-untyped-def]
    space = cache.space(SPEC)
    fill(space, range(30), flush=10)
    victim = segments(space)[1]
    data = bytearray(victim.read_bytes())
    size = int.from_bytes(data[:8], "little")
    place = {"first key": 8 + size, "last row": len(data) - 1, "middle": 8 + size + 10 * 16 + 40, "header": 12}
    if where in place:
        data[place[where]] ^= 1
    victim.write_bytes(data[: len(data) // 2] if where == "cut" else b"" if where == "empty" else data)
    fresh, wanted = cache.space(SPEC), keys_of(range(30))
    found = None
    while found is None:  # as `embed` does: ask, compute what is missing, ask again
        try:
            found = fresh.read(wanted)
        except MissingRowsError:
            missing = np.flatnonzero(~fresh.contains(wanted))
            assert set(missing) <= set(range(10, 20)), "rows of an undamaged segment are missing"
            fill(fresh, range(missing[0], missing[-1] + 1))
    assert torch.equal(found, torch.from_numpy(rows_of(range(30))))
    assert victim.with_name(victim.name + ".bad").exists()
    assert "set aside" in caplog.text


def test_verify_finds_damage_without_being_asked_for_the_rows(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    fill(space, range(30), flush=10)
    victim = segments(space)[2]
    data = bytearray(victim.read_bytes())
    data[-3] ^= 16
    victim.write_bytes(data)
    assert cache.verify() == {space.id: [victim.name]}
    assert cache.verify() == {}


def test_foreign_files_are_left_alone(cache: EmbeddingCache, tmp_path: Path) -> None:
    space = cache.space(SPEC)
    fill(space, range(5))
    (space.path / "notes.txt").write_text("hello")
    (cache.path / "v1" / "not-a-space").mkdir()
    (cache.path / "v1" / ("a" * 32)).symlink_to(tmp_path)
    stranger = cache.space({**SPEC, "encoder": "other"})
    write_segment(space.path, stranger.id, keys_of(range(90, 95)), rows_of(range(5)))
    fresh = cache.space(SPEC)
    assert len(fresh) == 5
    assert (space.path / "notes.txt").exists()
    assert {info.id for info in cache.ls()} == {space.id, stranger.id}
    for escape in ("../..", "/", ""):
        with pytest.raises(ValueError, match="spaces begin with"):
            cache.rm(escape)


@pytest.mark.parametrize("change", [{"shape": [-1, 16]}, {"data_offsets": [0, 10**15]}, {"dtype": "OBJ"}])
def test_a_malicious_header_is_refused(cache: EmbeddingCache, change: dict[str, object]) -> None:
    space = cache.space(SPEC)
    fill(space, range(5))
    [path] = segments(space)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["keys"].update(change)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    assert len(cache.space(SPEC)) == 0
    path.with_suffix(".safetensors").write_bytes((2**60).to_bytes(8, "little") + b"x" * 100)
    assert len(cache.space(SPEC)) == 0


# Writing under hard conditions


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
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_cache_store import *
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
        fill(space, range(200_000), flush=10_000)
    kept = len(cache.space(SPEC))
    assert kept > 0 and kept % 10_000 == 0
    assert torch.equal(cache.space(SPEC).read(keys_of(range(kept))), torch.from_numpy(rows_of(range(kept))))
    with pytest.raises(CacheWriteError, match="the disk is full"):
        fill(space, range(kept, 200_000), flush=200_000)
    assert not list(small_disk.rglob("*.tmp")), "what could not be written takes room"
    for path in small_disk.rglob("*.safetensors"):
        path.unlink()
    fill(cache.space(SPEC), range(kept, kept + 10))  # with room again, it goes on
    assert len(cache.space(SPEC)) == 10


WRITER = """
import sys
sys.path.insert(0, {folder!r})
from test_cache_store import *
space = EmbeddingCache({cache!r}).space(SPEC)
print("ready", flush=True)
with space.writer(flush_rows=50) as writer:
    for start in range({first}, {stop}, 10):
        writer.add(keys_of(range(start, start + 10)), rows_of(range(start, start + 10)))
"""


def writer_process(cache: EmbeddingCache, first: int, stop: int) -> subprocess.Popen[str]:
    code = WRITER.format(folder=str(Path(__file__).parent), cache=str(cache.path), first=first, stop=stop)
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
    assert 1200 <= len(space) <= 2400  # small segments are merged by whoever notices them
    assert torch.equal(space.read(keys_of(range(1200))), torch.from_numpy(rows_of(range(1200))))


# Upkeep


def test_upkeep(cache: EmbeddingCache, tmp_path: Path) -> None:
    old, new = cache.space(SPEC), cache.space({**SPEC, "encoder": "new"})
    fill(old, range(30))
    fill(new, range(50))
    past = time.time() - 10 * 86_400
    for name in ("last_used", "space.json"):
        if (old.path / name).exists():
            os.utime(old.path / name, (past, past))
    listed = cache.ls()
    assert [(info.id, info.rows) for info in listed] == [(new.id, 50), (old.id, 30)]
    assert listed[0].bytes > 50 * 6 * 4
    with pytest.raises(ValueError, match="needs max_bytes or older_than"):
        cache.prune()
    assert [info.id for info in cache.prune(older_than=5, dry_run=True)] == [old.id]
    assert len(cache.ls()) == 2
    for suffix in (".npy", ".safetensors"):
        assert cache.export(new.id[:8], tmp_path / f"rows{suffix}") == 50
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), rows_of(range(50)))
    with pytest.raises(ValueError, match=r"cannot export to 'rows.csv'; use .npy"):
        cache.export(new.id, tmp_path / "rows.csv")
    assert [info.id for info in cache.prune(max_bytes=listed[0].bytes)] == [old.id]
    assert cache.rm(new.id[:8]).rows == 50
    assert cache.ls() == []
    with pytest.raises(ValueError, match="0 spaces begin with 'abc'; there are: none"):
        cache.info("abc")


def test_stale_temporary_files_are_swept(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    for name, age in (("old.tmp", 2 * 86_400), ("young.tmp", 60)):
        (space.path / name).write_text("")
        os.utime(space.path / name, (time.time() - age, time.time() - age))
    cache.space(SPEC)
    assert [path.name for path in space.path.glob("*.tmp")] == ["young.tmp"]


def test_the_folder_says_what_it_is(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert (cache.path / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "elsewhere"))
    assert EmbeddingCache().path == tmp_path / "elsewhere"
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        EmbeddingCache(tmp_path / "file")

"""The embedding store under damage, without permission, and among threads: never a wrong row, never a raw error."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewshot.cache import EmbeddingCache, MissingRowsError
from fewshot.cache.segment import Segment
from fewshot.cache.space import Space
from fewshot.cache.store import SpaceInfo

DIM = 64
SPEC = {"dim": DIM, "storage": "float32", "encoder": "test"}


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


def keys_of(numbers: Any) -> np.ndarray:
    return np.frombuffer(b"".join(int(n).to_bytes(16, "big") for n in numbers), np.uint8).reshape(-1, 16)


def rows_of(numbers: Any) -> np.ndarray:
    return (np.array(numbers)[:, None] + np.arange(DIM) / 64).astype(np.float32)


def fill(space: Space, *ranges: range) -> None:
    for numbers in ranges:
        with space.writer() as writer:
            writer.add(keys_of(numbers), rows_of(numbers))


def segments(space: Space) -> list[Path]:
    return sorted(space.path.glob("*.safetensors"))


def flip(path: Path, place: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def as_written_before(path: Path) -> None:
    """Turn a segment into one of earlier versions, which had a checksum of the whole only."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    for name in ("sums", "key_sum", "block"):
        header["__metadata__"].pop(name, None)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 64)
    path.write_bytes(len(head).to_bytes(8, "little") + head + data[8 + size :])


@contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions count, also where tests run as the administrator."""
    if os.name != "posix":
        pytest.skip("permissions of POSIX")
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_cache() -> Iterator[EmbeddingCache]:
    """A cache where everybody may look: the folders of pytest are closed to others."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield EmbeddingCache(Path(folder) / "cache")


def is_right(space: Space, numbers: range, found: Any) -> bool:
    return np.array_equal(np.asarray(found), rows_of(numbers))


# Flipped bytes


@pytest.mark.parametrize("before", [False, True])
def test_no_flipped_byte_is_served_mapped_or_compacted(cache: EmbeddingCache, before: bool) -> None:
    random = np.random.default_rng(0)
    for trial in range(24):
        space = cache.space({**SPEC, "encoder": f"{before} {trial}"})
        fill(space, range(20), range(20, 50))
        for path in segments(space) if before else []:
            as_written_before(path)
        victim = segments(space)[trial % 2]
        flip(victim, int(random.integers(0, victim.stat().st_size)), int(random.integers(8)))
        fresh = cache.space(space.spec)
        if trial % 3 == 0:
            try:
                assert is_right(fresh, range(50), fresh.table(keys_of(range(50)), memory_limit_bytes=1))
            except MissingRowsError:
                pass
        elif trial % 3 == 1:
            cache.compact(space.id)
            fresh = cache.space(space.spec)
        held = np.flatnonzero(fresh.contains(keys_of(range(50))))
        try:
            assert is_right(fresh, held, fresh.read(keys_of(held)))  # type: ignore[arg-type]
        except MissingRowsError:
            held = np.flatnonzero(fresh.contains(keys_of(range(50))))
            assert is_right(fresh, held, fresh.read(keys_of(held)))  # type: ignore[arg-type]
        assert len(held) >= 20, "rows of the undamaged segment are lost"


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


# Bounds


def test_one_row_of_a_large_segment_costs_a_block(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    space = cache.space(SPEC)
    fill(space, range(10_000), range(10_000, 20_000))
    [as_written_before(path) for path in segments(space)[:1]]
    assert cache.compact(space.id) == 20_000
    space = cache.space(SPEC)
    assert [segment.nbytes for segment in space._seen.segments] == [20_000 * (16 + 4 * DIM)]
    read = []
    original = Segment._read
    monkeypatch.setattr(Segment, "_read", lambda *a: read.append(a[-1]) or original(*a))
    assert is_right(space, [12_345], space.read(keys_of([12_345])))  # type: ignore[arg-type]
    assert sum(read) <= 1024
    read.clear()
    numbers = np.random.default_rng(0).permutation(20_000)
    assert is_right(space, numbers, space.read(keys_of(numbers)))  # type: ignore[arg-type]
    assert sum(read) == 20_000


def test_a_sparse_file_provokes_no_large_read(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    space = cache.space(SPEC)
    count = 10_000_000
    header = {
        "__metadata__": {"space": space.id, "n": str(count), "xxh3": "0" * 32, "v": "1"},
        "keys": {"dtype": "U8", "shape": [count, 16], "data_offsets": [0, 16 * count]},
        "rows": {"dtype": "F32", "shape": [count, DIM], "data_offsets": [16 * count, (16 + 4 * DIM) * count]},
    }
    head = json.dumps(header).encode()
    path = space.path / "large.safetensors"
    with open(path, "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + (16 + 4 * DIM) * count)
    assert len(cache.space(SPEC)) == 0
    assert path.with_name("large.safetensors.bad").exists()


def test_memory_counts_what_is_held(cache: EmbeddingCache) -> None:
    space = cache.space({**SPEC, "storage": "float16"})
    fill(space, range(1000))
    assert isinstance(space.table(keys_of(range(1000)), memory_limit_bytes=1000 * DIM * 3), np.memmap)
    table = space.table(keys_of(range(1000)), memory_limit_bytes=1000 * DIM * 4)
    assert isinstance(table, torch.Tensor)
    assert table.dtype == torch.float32


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


# Several at once, and without permission


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


def test_a_read_only_cache_serves_what_is_whole(public_cache: EmbeddingCache, caplog: pytest.LogCaptureFixture) -> None:
    space = public_cache.space(SPEC)
    fill(space, range(10), range(10, 30), range(30, 40))
    flip(segments(space)[1], -5)
    folder = space.path
    os.chmod(folder, 0o555)
    try:
        with unprivileged():
            fresh = EmbeddingCache(public_cache.path).space(SPEC)
            with pytest.raises(MissingRowsError, match=r"20 of 40 rows are not in the cache"):
                fresh.read(keys_of(range(40)))
            left = [*range(10), *range(30, 40)]
            assert is_right(fresh, left, fresh.read(keys_of(left)))  # type: ignore[arg-type]
            fresh.refresh()
            assert fresh.contains(keys_of(range(40))).sum() == 20, "the damaged segment came back"
            table = fresh.table(keys_of(left), memory_limit_bytes=1)  # type: ignore[arg-type]
            assert is_right(fresh, left, table)  # type: ignore[arg-type]
            assert "The table of 20 rows becomes a temporary file" in caplog.text
            with pytest.raises(OSError, match="permission denied"):
                fill(fresh, range(10, 30))
    finally:
        os.chmod(folder, 0o755)


def test_a_segment_without_permission_is_named_and_the_rest_served(
    public_cache: EmbeddingCache, caplog: pytest.LogCaptureFixture
) -> None:
    space = public_cache.space(SPEC)
    fill(space, range(10), range(10, 30))
    victim = segments(space)[0]
    victim.chmod(0)
    with unprivileged():
        fresh = EmbeddingCache(public_cache.path).space(SPEC)
        assert fresh.contains(keys_of(range(30))).tolist() == [False] * 10 + [True] * 20
        assert is_right(fresh, range(10, 30), fresh.read(keys_of(range(10, 30))))
    assert f"{victim.name} cannot be read (Permission denied); left out" in caplog.text
    assert victim.exists()


def test_a_pipe_or_folder_named_like_a_segment_hangs_nothing(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    fill(space, range(5))
    os.mkfifo(space.path / "a.safetensors")
    (space.path / "b.safetensors").mkdir()
    fresh = cache.space(SPEC)
    assert len(fresh) == 5


# Looking changes nothing


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[1]", b"\xff\xfe", b'{"dim": 65, "storage": "float32"}', b'{"dim": 64}', b"[" * 100_000]
)
def test_a_damaged_space_is_named_and_hides_no_other(cache: EmbeddingCache, damage: bytes) -> None:
    space, other = cache.space(SPEC), cache.space({**SPEC, "encoder": "other"})
    fill(space, range(5))
    fill(other, range(7))
    (space.path / "space.json").write_bytes(damage)
    before = contents(cache.path)
    listed: dict[str, SpaceInfo] = {info.id: info for info in cache.ls()}
    assert contents(cache.path) == before
    assert (listed[other.id].rows, listed[other.id].problems) == (7, ())
    assert listed[space.id].problems
    assert space.id in listed[space.id].problems[0] or "64 x float32, not 65" in listed[space.id].problems[0]
    for use in (cache.open, cache.compact):
        with pytest.raises(ValueError, match=r"space\.json"):
            use(space.id)
    assert cache.verify() == {space.id: ["space.json"]}
    assert contents(cache.path) == before
    # Who knows the spec needs no file to say it, and mends it.
    assert is_right(space, range(5), cache.space(SPEC).read(keys_of(range(5))))
    assert not any(info.problems for info in cache.ls())


def test_ls_beside_a_writer(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    space = cache.space(SPEC)
    fill(space, range(5), range(5, 9))
    original, victim = os.scandir, segments(space)[0]

    def scandir(path: Any) -> Any:
        entries = list(original(path))
        for entry in entries:
            if entry.name == victim.name:
                os.unlink(entry.path)  # merged away between the listing and the look
        return iter(entries)

    monkeypatch.setattr("fewshot.cache.store.os.scandir", scandir)
    [info] = cache.ls()
    assert info.rows == 4
    assert info.problems == ()


def test_fuzzed_segments_give_right_rows_or_none(cache: EmbeddingCache) -> None:
    random = np.random.default_rng(1)
    space = cache.space(SPEC)
    fill(space, range(20))
    [path] = segments(space)
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    for trial in range(150):
        data = bytearray(whole)
        if trial % 3 == 0:  # in the header
            data[int(random.integers(0, 8 + size))] = int(random.integers(256))
        elif trial % 3 == 1:
            header = json.loads(whole[8 : 8 + size])
            part = random.choice(["__metadata__", "keys", "rows"])
            name = random.choice(list(header[part]))
            value = [None, -1, 10**30, "x" * 99, [], {}, [[]], True, "9" * 5000, 1e300][int(random.integers(10))]
            if trial % 2:
                header[part][name] = value
            else:
                del header[part][name]
            head = json.dumps(header).encode()
            data = bytearray(len(head).to_bytes(8, "little") + head + whole[8 + size :])
        else:
            del data[int(random.integers(len(data))) :]
        path.write_bytes(data)
        fresh = cache.space(SPEC)
        try:
            assert is_right(fresh, range(20), fresh.read(keys_of(range(20))))
        except MissingRowsError:
            pass
        for left in space.path.glob("*.bad"):
            left.unlink()


def test_the_command_line_lists_damaged_spaces(cache: EmbeddingCache, capsys: pytest.CaptureFixture[str]) -> None:
    from fewshot.cli import main

    space = cache.space(SPEC)
    fill(space, range(5))
    fill(cache.space({**SPEC, "encoder": "other"}), range(7))
    (space.path / "space.json").write_text("{")
    assert main(["cache", "ls", "--cache", str(cache.path)]) == 0
    out = capsys.readouterr().out
    assert "2 spaces" in out
    assert "space.json' is damaged: it is not JSON" in out
    assert main(["cache", "compact", space.id, "--cache", str(cache.path)]) == 2
    assert "space.json" in capsys.readouterr().err

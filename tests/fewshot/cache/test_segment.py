"""`Segment`: no damaged byte is served, and no header makes it read or allocate much."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from cache_examples import DIM, SPEC, as_written_before, fill, flip, is_right, keys_of, segments

from fewshot.cache import EmbeddingCache, MissingRowsError
from fewshot.cache.segment import Segment


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


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


def test_a_pipe_or_folder_named_like_a_segment_hangs_nothing(cache: EmbeddingCache) -> None:
    space = cache.space(SPEC)
    fill(space, range(5))
    os.mkfifo(space.path / "a.safetensors")
    (space.path / "b.safetensors").mkdir()
    fresh = cache.space(SPEC)
    assert len(fresh) == 5


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

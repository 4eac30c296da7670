"""`Space`: rows come back as written, in the order asked; what is damaged or unreadable is missing, and named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cache_examples import DIM, SPEC, fill, flip, is_right, keys_of, rows_of, segments, unprivileged

from fewshot.cache import EmbeddingCache, MissingRowsError
from fewshot.cache.segment_writing import write_segment


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


@pytest.fixture
def public_cache() -> Iterator[EmbeddingCache]:
    """A cache that every user may read: the folders of pytest are closed to others."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield EmbeddingCache(Path(folder) / "cache")


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
    out = torch.empty(37, DIM, dtype=torch.float64)
    assert space.read(keys_of(range(100))[order], out=out) is out
    assert torch.equal(out.float(), torch.from_numpy(rows_of(range(100))[order]))
    assert space.read(keys_of(range(1))[:0]).shape == (0, DIM)


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

"""`EmbeddingCache`: spaces by their spec, listings, upkeep; a damaged space hides no other."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_examples import DIM, SPEC, fill, is_right, keys_of, rows_of, segments

from fewshot.cache import EmbeddingCache, SpaceInfo


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


def test_other_specs_are_other_spaces(cache: EmbeddingCache) -> None:
    ids = {cache.space({**SPEC, **change}).id for change in ({}, {"encoder": "b"}, {"dim": 7}, {"storage": "float16"})}
    assert len(ids) == 4
    assert cache.space({"encoder": "test", "storage": "float32", "dim": DIM}).id == cache.space(SPEC).id
    for bad in ({"dim": 0}, {"dim": "64"}, {"storage": "int8"}):
        with pytest.raises(ValueError, match="dim must be a positive integer"):
            cache.space({**SPEC, **bad})


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
    assert listed[0].bytes > 50 * DIM * 4
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


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file; it must be a folder"):
        EmbeddingCache(tmp_path / "file")


def test_the_folder_says_what_it_is(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert (cache.path / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "elsewhere"))
    assert EmbeddingCache().path == tmp_path / "elsewhere"
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        EmbeddingCache(tmp_path / "file")


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
                os.unlink(entry.path)  # merged into another after the listing
        return iter(entries)

    monkeypatch.setattr("fewshot.cache.store.os.scandir", scandir)
    [info] = cache.ls()
    assert info.rows == 4
    assert info.problems == ()


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

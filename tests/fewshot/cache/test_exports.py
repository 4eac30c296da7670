"""`Exports`: a graph comes back whole or not at all, and is pruned before any row."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest
from cache_examples import SPEC, fill

from fewshot.cache import EmbeddingCache
from fewshot.cache.exports import Exports

KEY, OTHER = "0" * 32, "1" * 32


@pytest.fixture
def exports(tmp_path: Path) -> Exports:
    return Exports(tmp_path / "onnx")


def test_what_was_kept_comes_back(exports: Exports) -> None:
    assert exports.read(KEY) is None and exports.ls() == []
    exports.keep(KEY, b"a graph")
    exports.keep(OTHER, b"another")
    assert (exports.read(KEY), exports.read(OTHER)) == (b"a graph", b"another")
    exports.keep(KEY, b"made anew")
    assert exports.read(KEY) == b"made anew"
    assert len(exports.ls()) == 2


@pytest.mark.parametrize("damage", [b"", b"a grapx", b"a graph and more"])
def test_a_damaged_file_is_named_and_removed(exports: Exports, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    exports.keep(KEY, b"a graph")
    (info,) = exports.ls()
    info.path.write_bytes(damage)
    with caplog.at_level(logging.WARNING, "fewshot"):
        assert exports.read(KEY) is None
    assert str(info.path) in caplog.text and "exported again" in caplog.text
    assert exports.ls() == []


def test_a_refusal_is_remembered(exports: Exports) -> None:
    assert exports.refusal(KEY) is None
    exports.refuse(KEY, "no graph holds it")
    assert exports.refusal(KEY) == "no graph holds it" and exports.read(KEY) is None
    blocked = Exports(exports.folder / f"{KEY}.refused")  # a file where the folder would be
    blocked.refuse(OTHER, "unwritten")
    assert blocked.refusal(OTHER) is None and blocked.ls() == []


def test_exports_are_pruned_before_spaces(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    space = cache.space(SPEC)
    fill(space, range(30))
    for key in (KEY, OTHER):
        cache.exports.keep(key, bytes(1000))
    old = next(info for info in cache.exports.ls() if info.key == OTHER)
    past = time.time() - 10 * 86_400
    os.utime(old.path, (past, past))
    assert cache.prune(older_than=5, dry_run=True) == [] and len(cache.exports.ls()) == 2
    assert cache.prune(older_than=5) == []
    assert [info.key for info in cache.exports.ls()] == [KEY]
    assert cache.prune(max_bytes=cache.ls()[0].bytes) == []
    assert cache.exports.ls() == [] and [info.id for info in cache.ls()] == [space.id]

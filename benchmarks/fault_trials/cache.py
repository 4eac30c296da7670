"""The embedding cache: damaged segments and tables, rights, threads, kills, a full disk."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fault_trials.trial import FINE, LOST, RAW, WRONG, damage, kind, one_of
from fewshot import EmbeddingCache
from fewshot.cache import CacheWriteError, MissingRowsError
from fewshot.embedding.canary import compare, keep_canary, kept_canary

SPEC = {"dim": 48, "storage": "float32", "encoder": "test"}
NUMBERS = range(400)


def keys_of(numbers: Any) -> np.ndarray:
    return np.frombuffer(b"".join(int(n).to_bytes(16, "big") for n in numbers), np.uint8).reshape(-1, 16)


def rows_of(numbers: Any) -> np.ndarray:
    return (np.array(numbers)[:, None] + np.arange(48) / 64).astype(np.float32)


def write(space: Any, numbers: Any) -> None:
    with space.writer() as writer:
        writer.add(keys_of(numbers), rows_of(numbers))


def filled(folder: Path) -> tuple[EmbeddingCache, Any]:
    cache = EmbeddingCache(folder / "cache")
    space = cache.space(SPEC)
    for start in (0, 200):
        write(space, range(start, start + 200))
    return cache, space


def served(space: Any, least: int, mapped: bool = False) -> str:
    """What a reader gets who embeds anew what is missing: right rows, at least so many of them from before."""
    for _ in range(5):
        held = np.flatnonzero(space.contains(keys_of(NUMBERS)))
        if len(held) < least:
            return LOST
        try:
            rows = space.table(keys_of(held), memory_limit_bytes=1 if mapped else None)
        except MissingRowsError:
            continue
        return FINE if np.array_equal(np.asarray(rows), rows_of(held)) else WRONG
    return LOST


@contextmanager
def unprivileged() -> Iterator[None]:
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@kind("cache: damaged segment, read", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, space = filled(folder)
    damage(random, one_of(random, space.path.glob("*.safetensors")))
    return served(cache.space(SPEC), 200)


@kind("cache: damaged segment, mapped", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, space = filled(folder)
    damage(random, one_of(random, space.path.glob("*.safetensors")))
    return served(cache.space(SPEC), 200, mapped=True)


@kind("cache: damaged segment, compacted", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, space = filled(folder)
    damage(random, one_of(random, space.path.glob("*.safetensors")))
    cache.compact(space.id)
    return served(cache.space(SPEC), 200)


@kind("cache: damaged table", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, space = filled(folder)
    space.table(keys_of(NUMBERS), memory_limit_bytes=1)
    damage(random, one_of(random, space.path.glob("*.table")))
    return served(cache.space(SPEC), 400, mapped=True)


@kind("cache: damaged JSON, listed", 40)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, space = filled(folder)
    write(cache.space({**SPEC, "encoder": "other"}), range(5))
    keep_canary(space, "images", np.ones((4, 48)))
    damage(random, space.path / ("space.json", "canary.json")[int(random.integers(2))])
    before = sorted(os.listdir(space.path))
    if len(cache.ls()) != 2 or sorted(os.listdir(space.path)) != before:
        return LOST
    space = cache.space(SPEC)
    kept = kept_canary(space)
    if kept is not None:
        compare(kept, kept["rows"], space)
    return served(space, 400)


@kind("cache: without permission", 12)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, space = filled(folder)
    victim = one_of(random, space.path.glob("*.safetensors"))
    if random.random() < 0.5:
        victim.chmod(0)
    else:
        damage(random, victim)
    os.chmod(space.path, 0o555)
    with unprivileged():
        found = served(EmbeddingCache(cache.path).space(SPEC), 200, mapped=bool(random.integers(2)))
    os.chmod(space.path, 0o755)
    return found


@kind("cache: threads map one table", 6)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, _space = filled(folder)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda number: served(cache.space(SPEC), 400, mapped=True), range(6)))
    return max(found)


@kind("cache: kill -9 while writing", 12)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, _space = filled(folder)
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            space = cache.space(SPEC)
            for number in range(10**6):
                write(space, range(400 + number, 401 + number))
        os._exit(0)
    time.sleep(float(random.uniform(0.05, 0.4)))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return served(cache.space(SPEC), 400)


@kind("cache: four writers", 4)
def _(random: np.random.Generator, folder: Path) -> str:
    cache = EmbeddingCache(folder / "cache")
    cache.space(SPEC)
    children = []
    for first in (0, 100, 0, 200):
        child = os.fork()
        if not child:
            code = 1
            with contextlib.suppress(BaseException):
                space = cache.space(SPEC)
                for start in range(first, first + 200, 5):
                    write(space, range(start, start + 5))
                code = 0
            os._exit(code)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    return RAW if any(codes) else served(cache.space(SPEC), 400)


@kind("cache: full disk", 8)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, _space = filled(folder)
    child = os.fork()
    if not child:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = int(random.integers(100, 40_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        code = 3
        try:
            space = cache.space(SPEC)
            write(space, range(400, 1000))
        except CacheWriteError:
            code = 0
        except BaseException:
            code = 2
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: served(cache.space(SPEC), 400), 2: RAW}.get(code, LOST)

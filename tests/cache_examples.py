"""An embedding cache to write to, damage and read again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewshot.cache.space import Space

DIM = 64
SPEC = {"dim": DIM, "storage": "float32", "encoder": "test"}


def keys_of(numbers: Any) -> np.ndarray:
    """The key of each number ``[n, 16]``."""
    return np.frombuffer(b"".join(int(n).to_bytes(16, "big") for n in numbers), np.uint8).reshape(-1, 16)


def rows_of(numbers: Any) -> np.ndarray:
    """Rows ``[n, D]`` that differ from each other, each from its key."""
    return (np.array(numbers)[:, None] + np.arange(DIM) / 64).astype(np.float32)


def fill(space: Space, *ranges: range, flush: int = 8192) -> None:
    """Write the rows of each range with a writer of its own, ten at a time."""
    for numbers in ranges:
        with space.writer(flush_rows=flush) as writer:
            for start in range(numbers.start, numbers.stop, 10):
                part = range(start, min(start + 10, numbers.stop))
                writer.add(keys_of(part), rows_of(part))


def segments(space: Space) -> list[Path]:
    """Files of rows, by name."""
    return sorted(space.path.glob("*.safetensors"))


def flip(path: Path, place: int, bit: int = 0) -> None:
    """Change one bit of a file."""
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


def is_right(space: Space, numbers: range, found: Any) -> bool:
    """Whether the rows of those numbers were found."""
    return np.array_equal(np.asarray(found), rows_of(numbers))

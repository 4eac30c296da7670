"""Checksums of a segment: of its keys, of every block of rows, and of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 16
TYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
CODES = {np.dtype("float16"): "F16", np.dtype("float32"): "F32"}
_BLOCK = 1 << 17  # bytes of rows under one checksum: what reading a single row costs
_BLOCKS = 1 << 14  # of a segment at most: their checksums are part of its header


def block_rows(count: int, row_bytes: int) -> int:
    """How many rows of a segment of `count` share a checksum."""
    return max(1, _BLOCK // row_bytes, -(-count // _BLOCKS))


def digest_of(content: bytes) -> str:
    """32 hexadecimal digits by which damage of a file is noticed."""
    import xxhash

    return xxhash.xxh3_128_hexdigest(content)


def key_sum(keys: Any) -> str:
    """The checksum of a segment's keys."""
    import xxhash

    return xxhash.xxh3_64_hexdigest(keys)


def whole_sum(keys: NDArray[np.uint8]) -> Any:
    """The checksum of a whole segment, which rows are still to be added to."""
    import xxhash

    return xxhash.xxh3_128(np.ascontiguousarray(keys).data)


def block_sums(rows: NDArray[Any], block: int) -> NDArray[np.uint64]:
    """Checksums of rows ``[n, D]`` that begin at a block, one per `block` rows; the last may be shorter."""
    import xxhash

    flat = memoryview(rows.reshape(-1).view(np.uint8).data)
    step = block * rows.shape[1] * rows.itemsize
    return np.array([xxhash.xxh3_64_intdigest(flat[start : start + step]) for start in range(0, len(flat), step)], "u8")

"""One segment: an immutable safetensors file with keys and rows, written in one step."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.files import open_regular, read_into
from episodes.schema import field, parse_json
from fewshot.cache.checksums import KEY_BYTES, TYPES, block_sums, key_sum, whole_sum

_HEADER_LIMIT = 1 << 20
_PIECE = 1 << 19  # read and digested at a time, while it is in the processor's cache
_SPARSE = 64  # a large file takes at least this part of its size on disk: keys do not compress


class DamagedSegmentError(ValueError):
    """A segment is not what was written: cut short, altered, or of another space."""


class OtherRowsError(DamagedSegmentError):
    """A sound segment whose rows are not of the space's shape or type."""


class Segment:
    """An existing segment file; its keys are read now, its rows when they are requested.

    Every row that is handed out was compared with a checksum first: of the block that holds it, or, in files of
    earlier versions, which have none, of the whole segment.

    Args:
        path: the file.
        space: id of the space it must belong to.
        dim: features D that its rows must have; None: any.
        dtype: type that its rows must have; None: any.

    Raises:
        DamagedSegmentError: not a whole segment of this space.
        OSError: it is not there, or may not be read.
    """

    def __init__(self, path: Path, space: str, dim: int | None = None, dtype: np.dtype[Any] | None = None) -> None:
        self.path = path
        with self._open() as file:
            status = os.fstat(file.fileno())
            self._read_header(file.read(8), file, status, space)
            if (dim is not None and self.dim != dim) or (dtype is not None and self.dtype != dtype):
                raise OtherRowsError(f"{path.name} holds rows of {self.dim} x {self.dtype}, not {dim} x {dtype}")
            keys = file.read(self.count * KEY_BYTES)
        if len(keys) != self.count * KEY_BYTES or (self.sums is not None and key_sum(keys) != self.key_sum):
            raise DamagedSegmentError(f"the keys of {path.name} do not match their checksum")
        self.keys = np.frombuffer(keys, np.uint8).reshape(self.count, KEY_BYTES)

    @property
    def nbytes(self) -> int:
        """Bytes of keys and rows."""
        return self.count * (KEY_BYTES + self.row_bytes)

    def _open(self) -> Any:
        try:
            return os.fdopen(open_regular(self.path), "rb", buffering=0)
        except ValueError as error:
            raise DamagedSegmentError(str(error)) from None

    def _read_header(self, prefix: bytes, file: Any, status: os.stat_result, space: str) -> None:
        name, size = self.path.name, status.st_size
        if len(prefix) < 8:
            raise DamagedSegmentError(f"{name} is cut short")
        length = struct.unpack("<Q", prefix)[0]
        if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
            raise DamagedSegmentError(f"{name} has no valid header")
        held = getattr(status, "st_blocks", 0) * 512
        if 0 < held * _SPARSE < size and size > 2**26:
            raise DamagedSegmentError(f"{name} is {size:,} bytes long, but only {held:,} of them were ever written")
        try:
            header = parse_json(file.read(length), name)
            meta, keys, rows = (field(header, part, dict, name) for part in ("__metadata__", "keys", "rows"))
            self.count = int(field(meta, "n", str, name, most=18))
            self.digest = field(meta, "xxh3", str, name)
            self.dtype = TYPES[field(rows, "dtype", str, name)]
            _, self.dim = field(rows, "shape", list, name, each=int, least=2, most=2)
            self._read_sums(meta, name)
        except (ValueError, KeyError):
            raise DamagedSegmentError(f"{name} has no valid header") from None
        self.row_bytes = self.dim * self.dtype.itemsize
        ends = [self.count * KEY_BYTES, self.count * (KEY_BYTES + self.row_bytes)]
        sound = (
            self.count >= 0 and self.dim > 0 and rows["shape"][0] == self.count
            and keys.get("shape") == [self.count, KEY_BYTES]
            and keys.get("dtype") == "U8" and keys.get("data_offsets") == [0, ends[0]]
            and rows.get("data_offsets") == ends and size == 8 + length + ends[1]
            and (self.sums is None or len(self.sums) == -(-self.count // self.block))
        )  # fmt: skip
        if not sound:
            raise DamagedSegmentError(f"{name} is cut short or altered")
        if meta.get("space") != space:
            raise DamagedSegmentError(f"{name} belongs to space {str(meta.get('space'))[:40]!r}")
        self.offset = 8 + length + self.count * KEY_BYTES  # where rows start in the file

    def _read_sums(self, meta: dict[str, Any], name: str) -> None:
        self.block, self.sums, self.key_sum = max(1, self.count), None, ""
        if "sums" in meta:
            self.block = int(field(meta, "block", str, name, most=18))
            self.key_sum = field(meta, "key_sum", str, name)
            self.sums = np.frombuffer(bytes.fromhex(field(meta, "sums", str, name)), ">u8")
            if self.block < 1:
                raise ValueError

    def pieces(self, wanted: NDArray[np.int64] | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """Rows, a few at a time, as ``(number of the first, [n, D])``; each array is overwritten by the next.

        They are good once the iterator has come to its end: a file of an earlier version has one checksum only.

        Args:
            wanted: sorted numbers of the rows that must be among them; None: all.

        Raises:
            DamagedSegmentError: rows do not match their checksum.
            OSError: the file is gone, or cannot be read.
        """
        blocks = np.arange(-(-self.count // self.block))
        if wanted is not None and self.sums is not None:
            needed = np.unique(wanted // self.block)
            blocks = needed if 2 * len(needed) < len(blocks) else blocks
        whole = whole_sum(self.keys) if self.sums is None else None
        largest = max(_PIECE, self.row_bytes if self.sums is None else self.block * self.row_bytes)
        buffer = np.empty(min(self.count * self.row_bytes, largest), np.uint8)
        with self._open() as file:
            for first, count in self._stretches(blocks):
                rows = self._read(file, buffer, first, count)
                if whole is not None:
                    whole.update(rows.reshape(-1).view(np.uint8).data)
                elif self.sums is not None:
                    place = first // self.block
                    sums = block_sums(rows, self.block)
                    if not np.array_equal(sums, self.sums[place : place + len(sums)]):
                        raise DamagedSegmentError(f"{self.path.name} does not match its checksum")
                yield first, rows
        if whole is not None and whole.hexdigest() != self.digest:
            raise DamagedSegmentError(f"{self.path.name} does not match its checksum")

    def verify(self) -> None:
        """Read the whole segment and compare the checksums.

        Raises:
            DamagedSegmentError: it is not what was written.
        """
        for _ in self.pieces():
            pass

    def _stretches(self, blocks: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """First row and number of rows of each read: neighbouring blocks, up to a piece."""
        if self.sums is None:
            step = max(1, _PIECE // self.row_bytes)
            yield from ((first, min(step, self.count - first)) for first in range(0, self.count, step))
            return
        together = max(1, _PIECE // (self.block * self.row_bytes))
        start = 0
        while start < len(blocks):
            stop = start + 1
            while stop < len(blocks) and stop - start < together and blocks[stop] == blocks[stop - 1] + 1:
                stop += 1
            first = int(blocks[start]) * self.block
            yield first, min((int(blocks[stop - 1]) + 1) * self.block, self.count) - first
            start = stop

    def _read(self, file: Any, buffer: NDArray[np.uint8], first: int, count: int) -> NDArray[Any]:
        size = count * self.row_bytes
        file.seek(self.offset + first * self.row_bytes)
        if read_into(file, buffer[:size]) < size:
            raise DamagedSegmentError(f"{self.path.name} is cut short")
        return buffer[:size].view(self.dtype).reshape(count, self.dim)

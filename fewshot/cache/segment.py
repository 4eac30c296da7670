"""One segment: an immutable safetensors file with keys and rows, written in one step."""

from __future__ import annotations

import json
import os
import platform
import struct
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 16
_HEADER_LIMIT = 1 << 20
_PIECE = 1 << 19  # read and digested at a time, while it is in the processor's cache
_TYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "U8": np.dtype("u1")}
_CODES = {np.dtype("float16"): "F16", np.dtype("float32"): "F32"}


class DamagedSegmentError(ValueError):
    """A segment is not what was written: cut short, altered, or of another space."""


def write_segment(folder: Path, space: str, keys: NDArray[np.uint8], rows: NDArray[Any]) -> Path:
    """Commit keys ``[n, 16]`` and rows ``[n, D]``: written aside, flushed to disk, then renamed.

    Readers see all of it or nothing; a crash leaves at most a ``.tmp`` file. Names are unique, so writers
    never meet.
    """
    import xxhash

    keys, rows = np.ascontiguousarray(keys), np.ascontiguousarray(rows)
    digest = xxhash.xxh3_128(keys.data)
    digest.update(rows.data)
    header = {
        "__metadata__": {"space": space, "n": str(len(keys)), "xxh3": digest.hexdigest(), "v": "1",
                         "host": platform.node()},
        "keys": {"dtype": "U8", "shape": list(keys.shape), "data_offsets": [0, keys.nbytes]},
        "rows": {"dtype": _CODES[rows.dtype], "shape": list(rows.shape),
                 "data_offsets": [keys.nbytes, keys.nbytes + rows.nbytes]},
    }  # fmt: skip
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 64)  # rows start aligned
    name = f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
    temporary, final = folder / f"{name}.tmp", folder / f"{name}.safetensors"
    try:
        with open(temporary, "xb", buffering=0) as file:
            for part in (struct.pack("<Q", len(head)) + head, keys.data, rows.data):
                _write_all(file, part)
            os.fsync(file.fileno())
        os.rename(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    return final


class Segment:
    """An existing segment file; its keys are read now, its rows when they are asked for.

    Raises:
        DamagedSegmentError: not a whole segment of this space.
    """

    def __init__(self, path: Path, space: str) -> None:
        self.path = path
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            self._read_header(file.read(8), file, size, space)
            keys = file.read(self.count * KEY_BYTES)
        self.keys = np.frombuffer(keys, np.uint8).reshape(self.count, KEY_BYTES)

    def _read_header(self, prefix: bytes, file: Any, size: int, space: str) -> None:
        if len(prefix) < 8:
            raise DamagedSegmentError(f"{self.path.name} is cut short")
        length = struct.unpack("<Q", prefix)[0]
        if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
            raise DamagedSegmentError(f"{self.path.name} has no valid header")
        try:
            header = json.loads(file.read(length))
            meta, keys, rows = header["__metadata__"], header["keys"], header["rows"]
            self.count, self.digest = int(meta["n"]), str(meta["xxh3"])
            self.dtype, (count, self.dim) = _TYPES[rows["dtype"]], rows["shape"]
            expected = [
                self.count * KEY_BYTES,
                self.count * KEY_BYTES + self.count * self.dim * self.dtype.itemsize,
            ]
            sound = (
                count == self.count >= 0 and self.dim > 0 and keys["shape"] == [self.count, KEY_BYTES]
                and keys["dtype"] == "U8" and keys["data_offsets"] == [0, expected[0]]
                and rows["data_offsets"] == expected and size == 8 + length + expected[1]
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DamagedSegmentError(f"{self.path.name} has no valid header") from None
        if not sound:
            raise DamagedSegmentError(f"{self.path.name} is cut short or altered")
        if meta.get("space") != space:
            raise DamagedSegmentError(f"{self.path.name} belongs to space {meta.get('space')!r}")
        self.offset = 8 + length + self.count * KEY_BYTES  # where rows start in the file

    def rows(self) -> NDArray[Any]:
        """All rows ``[n, D]``, memory-mapped."""
        return np.memmap(self.path, self.dtype, "r", self.offset, (self.count, self.dim))

    def read_into(self, out: NDArray[Any]) -> None:
        """Read all rows into a preallocated ``[n, D]`` array of the stored type, and verify the checksum."""
        import xxhash

        digest = xxhash.xxh3_128(self.keys.data)
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.offset)
            view = memoryview(out.reshape(-1).view(np.uint8).data)
            done = 0
            while done < len(view):
                got = file.readinto(view[done : done + _PIECE])
                if not got:
                    raise DamagedSegmentError(f"{self.path.name} is cut short")
                digest.update(view[done : done + got])
                done += got
        if digest.hexdigest() != self.digest:
            raise DamagedSegmentError(f"{self.path.name} does not match its checksum")

    def verify(self) -> None:
        """Read the whole segment and compare the checksum.

        Raises:
            DamagedSegmentError: it is not what was written.
        """
        self.read_into(np.empty((self.count, self.dim), self.dtype))


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(handle)
    except OSError:  # some network file systems cannot flush folders
        pass
    finally:
        os.close(handle)


def _write_all(file: Any, data: Any) -> None:
    view = memoryview(data).cast("B")
    done = 0
    while done < len(view):
        done += file.write(view[done:])

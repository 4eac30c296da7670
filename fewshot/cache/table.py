"""Tables: rows in the order of a dataset, in a file that is mapped into memory instead of read."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from fewshot.cache.errors import explain_write_error

_LOG = logging.getLogger("fewshot")
_SUM = 16  # bytes after the rows: their checksum
_PIECE = 1 << 20
_SETTLED_SECONDS = 2.0  # a file that changed since could change again within the clock's resolution
_making = Lock()  # threads that need the same table wait for the first
_verified: dict[str, tuple[int, ...]] = {}  # path -> identity of the file whose checksum was right

Table = np.memmap[Any, Any]


def map_table(folder: Path, keys: Any, dim: int, dtype: np.dtype[Any], fill: Callable[[Table], None]) -> Table:
    """The table of some keys ``[n, D]``, read-only: one that is there and undamaged, or a new one.

    A file is read once per process to compare its checksum, and again if it changed. Where the folder cannot be
    written to, the table is a temporary file that vanishes with its last user.

    Args:
        folder: of the space.
        keys: ``[n, 16]``; they name the table.
        dim: features D.
        dtype: of the rows.
        fill: writes the rows into a new table.

    Raises:
        fewshot.cache.CacheWriteError: there is no space for it, here or among the temporary files.
    """
    name = hashlib.sha256(np.ascontiguousarray(keys).data).hexdigest()[:32]
    path, shape = folder / f"{name}.table", (len(keys), dim)
    with _making:
        found = _open(path, shape, dtype)
        if found is not None:
            return found
        temporary = folder / f"{uuid.uuid4().hex}.tmp"
        try:
            _make(temporary, name, shape, dtype, fill)
            try:
                os.replace(temporary, path)
            except OSError:  # Windows: another process has mapped its own, which is the same
                found = _open(path, shape, dtype)
                if found is not None:
                    return found
                raise
            _remember(path)
            return np.memmap(path, dtype, "r", shape=shape)
        except OSError as error:
            return _elsewhere(explain_write_error(error, folder), name, shape, dtype, fill)
        finally:
            temporary.unlink(missing_ok=True)


def damaged_tables(folder: Path) -> list[str]:
    """Names of the tables of a space that do not match their checksum; they are removed, being derived."""
    damaged = []
    for path in sorted(folder.glob("*.table")):
        try:
            if not _matches(path):
                path.unlink()
                damaged.append(path.name)
        except FileNotFoundError:
            pass
    return damaged


def _open(path: Path, shape: tuple[int, int], dtype: np.dtype[Any]) -> Table | None:
    try:
        if path.is_symlink() or not path.is_file():
            return None
        if path.stat().st_size != shape[0] * shape[1] * dtype.itemsize + _SUM:
            return None  # of an earlier version, without a checksum, or cut short
        if _verified.get(str(path)) != _identity(path):
            if not _matches(path):
                _LOG.warning("cache table %s does not match its checksum; it is made again.", path)
                return None
            _remember(path)
        return np.memmap(path, dtype, "r", shape=shape)
    except OSError as error:
        _LOG.warning("cache table %s cannot be read (%s); it is made again.", path, error)
        return None


def _make(path: Path, name: str, shape: tuple[int, int], dtype: np.dtype[Any], fill: Callable[[Table], None]) -> None:
    size = shape[0] * shape[1] * dtype.itemsize
    with open(path, "xb") as file:
        # A write to a mapped file that the disk has no space for would kill the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size + _SUM)
        else:
            for start in range(0, size + _SUM, _PIECE):
                file.write(bytes(min(_PIECE, size + _SUM - start)))
    table = np.memmap(path, dtype, "r+", shape=shape)
    fill(table)
    table.flush()
    with open(path, "r+b") as file:
        file.seek(size)
        file.write(_digest(name, memoryview(table.reshape(-1).view(np.uint8).data)))
    del table


def _elsewhere(
    why: OSError, name: str, shape: tuple[int, int], dtype: np.dtype[Any], fill: Callable[[Table], None]
) -> Table:
    _LOG.warning("%s The table of %s rows becomes a temporary file.", why, f"{shape[0]:,}")
    path = Path(tempfile.gettempdir()) / f"fewshot-{uuid.uuid4().hex}.table"
    try:
        _make(path, name, shape, dtype, fill)
        return np.memmap(path, dtype, "r", shape=shape)
    except OSError as error:
        raise explain_write_error(error, path.parent) from why
    finally:
        try:
            path.unlink(missing_ok=True)  # what is mapped stays until it is let go
        except OSError:  # not on Windows
            pass


def _matches(path: Path) -> bool:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size - _SUM
        if size < 0:
            return False
        digest, left = _hasher(path.stem), size
        while left:
            piece = file.read(min(_PIECE, left))
            if not piece:
                return False
            digest.update(piece)
            left -= len(piece)
        return bool(file.read() == digest.digest())


def _digest(name: str, content: memoryview) -> bytes:
    digest = _hasher(name)
    for start in range(0, len(content), _PIECE):
        digest.update(content[start : start + _PIECE])
    return bytes(digest.digest())


def _hasher(name: str) -> Any:
    import xxhash

    return xxhash.xxh3_128(name.encode())


def _remember(path: Path) -> None:
    status = path.stat()
    if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_SECONDS:
        _verified[str(path)] = _identity(path)


def _identity(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

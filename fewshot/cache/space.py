"""`Space`: all rows of one encoder with one way of preparing its input."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.cache.checksums import KEY_BYTES
from fewshot.cache.errors import MissingRowsError
from fewshot.cache.segment import DamagedSegmentError, OtherRowsError, Segment
from fewshot.cache.snapshot import SegmentError, Snapshot
from fewshot.cache.table import Table, damaged_tables, map_table
from fewshot.cache.writer import Writer

_LOG = logging.getLogger("fewshot")
_TOUCH_SECONDS = 3600  # how often the time of last use is noted
_READS = 20  # of a folder that changes while it is read


class Space:
    """Rows by content key; made by `EmbeddingCache.space`.

    Any number of processes and threads may read and write at once: writers add files of their own, none
    changes or locks any. What a crash leaves behind is a whole segment or none. A segment that is damaged is set
    aside, one that may not be read is left out; the other rows are served, these are missing.

    Args:
        path: its folder.
        spec: with ``"dim"`` and ``"storage"``.
        given: the spec is the caller's. One that was read from the folder may itself be damaged, so segments
            are not judged by it.

    Raises:
        ValueError: segments hold other rows than a spec from the folder says.
    """

    def __init__(self, path: Path, spec: dict[str, Any], *, given: bool = True) -> None:
        self.path, self.id, self.spec = path, path.name, spec
        self.dim, self.storage = int(spec["dim"]), np.dtype(spec["storage"])
        self._given = given
        self._seen = Snapshot()
        self._left_out: dict[str, tuple[int, ...] | None] = {}  # segments that cannot be used, as they were then
        self.refresh()

    def refresh(self) -> None:
        """See the segments that other processes have added or removed since."""
        names = _listed(self.path)
        known = {segment.path.name: segment for segment in self._seen.segments}
        if names == list(known):
            return
        for _ in range(_READS):
            opened = [known.get(name) or self._open(name) for name in names]
            again = _listed(self.path)
            if again == names:
                break
            names = again  # one was merged into another meanwhile
        self._seen = Snapshot(segment for segment in opened if segment is not None)

    def __len__(self) -> int:
        """Rows on disk, duplicates counted."""
        return len(self._seen)

    def keys(self) -> NDArray[np.uint8]:
        """Keys of all rows in the order of storage ``[n, 16]``, each once."""
        return self._seen.distinct_keys()

    def contains(self, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of the keys ``[n, 16]`` have a row."""
        return self._seen.find(_as_keys(keys)) >= 0

    def read(self, keys: NDArray[np.uint8], *, out: Tensor | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Rows in the order of the keys ``[n, D]``.

        Only the blocks that hold them are read, each compared with its checksum and converted as it comes; a
        damaged segment is set aside, and its rows are missing from then on.

        Args:
            keys: ``[n, 16]``.
            out: where the rows go, of any type; undefined after an error. None: a new tensor.
            dtype: of a new tensor.

        Raises:
            MissingRowsError: some keys have no row; embed those items (again).
        """
        keys = _as_keys(keys)
        rows = _new_rows(len(keys), self.dim, dtype) if out is None else out

        def put(places: Any, part: NDArray[Any]) -> None:
            given = torch.from_numpy(part)
            if isinstance(places, slice):
                rows[places] = given.to(rows.device)
            else:
                rows.index_copy_(0, torch.from_numpy(places).to(rows.device), given.to(rows.device, rows.dtype))

        self._gather(keys, put)
        self.touch()
        return rows

    def table(self, keys: NDArray[np.uint8], *, memory_limit_bytes: int | None = None) -> Tensor | Table:
        """Rows in the order of the keys: in memory as float32, or above the limit as a memory-mapped file.

        The file is derived and named by the keys it holds; it is made once, carries a checksum, and may be
        deleted at any time.

        Args:
            keys: ``[n, 16]``.
            memory_limit_bytes: that the tensor may take; None: any.
        """
        if memory_limit_bytes is None or len(keys) * self.dim * 4 <= memory_limit_bytes:
            return self.read(keys)
        keys = _as_keys(keys)

        def fill(table: Table) -> None:
            self._gather(keys, table.__setitem__)

        found = map_table(self.path, keys, self.dim, self.storage, fill)
        self.touch()
        return found

    def writer(self, flush_rows: int = 8192, flush_seconds: float = 10.0) -> Writer:
        """A writer that commits every so many rows or seconds, and what is left at its end."""
        return Writer(self, flush_rows, flush_seconds)

    def verify(self) -> list[str]:
        """Check every segment and table against its checksums; damaged ones are set aside and named."""
        damaged = []
        for segment in self._seen.segments:
            try:
                segment.verify()
            except FileNotFoundError:  # merged into another
                pass
            except (ValueError, OSError) as error:
                damaged.append(segment.path.name)
                self._leave_out(segment.path.name, error)
        self._reopen()
        return damaged + damaged_tables(self.path)

    def touch(self) -> None:
        """Note that the space was used now; eviction removes the least recently used."""
        stamp = self.path / "last_used"
        try:
            if not stamp.exists() or time.time() - stamp.stat().st_mtime > _TOUCH_SECONDS:
                stamp.touch()
        except OSError:  # a cache that one may only read
            pass

    def _gather(self, keys: NDArray[np.uint8], put: Callable[[Any, NDArray[Any]], None]) -> None:
        """Hand out the rows of some keys; from the start again when a segment proves gone or damaged."""
        for _ in range(_READS + len(self._seen.segments)):
            seen = self._seen
            places = seen.find(keys)
            missing = np.flatnonzero(places < 0)
            if len(missing):
                listed = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
                raise MissingRowsError(
                    f"{len(missing)} of {len(places)} rows are not in the cache (positions {listed}); embed them again."
                )
            try:
                seen.gather(places, put)
                return
            except SegmentError as error:
                if not isinstance(error.__cause__, FileNotFoundError):  # one that is gone was merged into another
                    self._leave_out(error.segment.path.name, error.__cause__)
                self._reopen()
        raise MissingRowsError(f"the files of space {self.id} keep changing while they are read; try again.")

    def _reopen(self) -> None:
        unusable = set(self._left_out)
        self._seen = Snapshot(segment for segment in self._seen.segments if segment.path.name not in unusable)
        self.refresh()

    def _open(self, name: str) -> Segment | None:
        path = self.path / name
        if name in self._left_out and self._left_out[name] == _identity(path):
            return None
        try:
            return Segment(path, self.id, self.dim, self.storage)
        except FileNotFoundError:
            return None
        except OtherRowsError as error:
            if not self._given:
                raise ValueError(
                    f"{str(self.path / 'space.json')!r} says rows of {self.dim} x {self.storage}, but {error}; it is "
                    "damaged. Embedding with the same encoder writes it anew."
                ) from None
            self._leave_out(name, error)
        except (DamagedSegmentError, OSError) as error:
            self._leave_out(name, error)
        return None

    def _leave_out(self, name: str, error: BaseException | None) -> None:
        """Do without a segment; one that is damaged is renamed, where that is allowed, and so kept for inspection."""
        path = self.path / name
        self._left_out[name] = _identity(path)
        if isinstance(error, OSError):
            _LOG.warning("cache space %s: %s cannot be read (%s); left out.", self.id[:8], name, error.strerror)
            return
        _LOG.warning("cache space %s: %s; set aside, its rows are embedded again.", self.id[:8], error)
        try:
            os.replace(path, self.path / f"{name}.bad")
        except OSError:  # read-only, or already moved by another process: it is left out here all the same
            pass


def _new_rows(count: int, dim: int, dtype: torch.dtype) -> Tensor:
    """A new tensor; NumPy asks for large pages where there are any, which makes filling it several times as fast."""
    kind = {torch.float16: np.float16, torch.float32: np.float32, torch.float64: np.float64}.get(dtype)
    return torch.empty(count, dim, dtype=dtype) if kind is None else torch.from_numpy(np.empty((count, dim), kind))


def _as_keys(keys: NDArray[np.uint8]) -> NDArray[np.uint8]:
    keys = np.ascontiguousarray(keys, np.uint8)
    if keys.ndim != 2 or keys.shape[1] != KEY_BYTES:
        raise ValueError(f"keys are {list(keys.shape)}; they must be [n, {KEY_BYTES}] uint8.")
    return keys


def _listed(folder: Path) -> list[str]:
    """Names of the segments; listed again while the folder changes, since a listing may miss what is new."""
    names: list[str] = []
    try:
        for _ in range(_READS):
            before = os.stat(folder).st_mtime_ns
            names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".safetensors"))
            if os.stat(folder).st_mtime_ns == before:
                break
    except FileNotFoundError:
        return []
    return names


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def touched(path: Path) -> float:
    """When a space was last used, in seconds since the epoch."""
    times = [0.0]
    for name in ("last_used", "space.json"):
        try:
            times.append((path / name).stat().st_mtime)
        except OSError:
            pass
    return max(times)

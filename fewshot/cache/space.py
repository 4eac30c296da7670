"""`Space`: all rows of one encoder with one way of preparing its input."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from episodes.results import write_atomically
from fewshot.cache.errors import CacheWriteError, MissingRowsError, StaleCacheError
from fewshot.cache.index import KeyIndex
from fewshot.cache.segment import KEY_BYTES, DamagedSegmentError, Segment, write_segment

_LOG = logging.getLogger("fewshot")
_TOUCH_SECONDS = 3600  # how often the time of last use is noted
_CANARY_COSINE = 0.9999


class Space:
    """Rows by content key; made by `EmbeddingCache.space`.

    Any number of processes may read and write at once: writers add files of their own, nobody changes or
    locks any. What a crash leaves behind is a whole segment or none.
    """

    def __init__(self, path: Path, spec: dict[str, Any]) -> None:
        self.path, self.id, self.spec = path, path.name, spec
        self.dim, self.storage = int(spec["dim"]), np.dtype(spec["storage"])
        self._segments: dict[str, Segment] = {}
        self._starts = np.zeros(1, np.int64)
        self._index: KeyIndex | None = None
        self.refresh()

    def refresh(self) -> None:
        """See the segments that other processes have added or removed since."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.path) if entry.name.endswith(".safetensors"))
        except FileNotFoundError:
            names = []
        if self._index is not None and names == list(self._segments):
            return
        known, self._segments = self._segments, {}
        for name in names:
            segment = known.get(name) or self._open(name)
            if segment is not None:
                self._segments[name] = segment
        segments = list(self._segments.values())
        self._starts = np.cumsum([0, *(segment.count for segment in segments)])
        keys = [segment.keys for segment in segments] or [np.zeros((0, KEY_BYTES), np.uint8)]
        self._index = KeyIndex(np.concatenate(keys))

    def __len__(self) -> int:
        """Rows on disk, duplicates counted."""
        return int(self._starts[-1])

    def contains(self, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of the keys ``[n, 16]`` have a row."""
        return self._find(keys) >= 0

    def read(self, keys: NDArray[np.uint8], *, out: Tensor | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Rows in the order of the keys ``[n, D]``.

        Segments are read one after the other into one block of memory and verified; a damaged one is set
        aside, and its rows are missing from then on.

        Raises:
            MissingRowsError: some keys have no row; embed those items (again).
        """
        while True:
            places = self._find(keys)
            self._require(places)
            segment = np.searchsorted(self._starts, places, side="right") - 1
            used = np.flatnonzero(np.bincount(segment, minlength=1))
            block = self._load(used) if len(places) else (np.empty((0, self.dim), self.storage), used)
            if block is not None:
                break
        rows, starts = block
        shift = np.zeros(len(self._starts), np.int64)
        shift[used] = starts - self._starts[used]
        positions = places + shift[segment]
        self.touch()
        table = torch.from_numpy(rows)
        if out is None and len(positions) == len(table) and np.array_equal(positions, np.arange(len(positions))):
            return table.to(dtype)
        if out is None:
            return table.index_select(0, torch.from_numpy(positions)).to(dtype)
        out.copy_(table.index_select(0, torch.from_numpy(positions)))
        return out

    def table(self, keys: NDArray[np.uint8], *, memory_limit_bytes: int | None = None) -> Tensor | np.memmap[Any, Any]:
        """Rows in the order of the keys: in memory, or above the limit as a memory-mapped file.

        The file is derived and named by the keys it holds; it is made once and may be deleted at any time.
        """
        size = len(keys) * self.dim * self.storage.itemsize
        if memory_limit_bytes is None or size <= memory_limit_bytes:
            return self.read(keys)
        name = hashlib.sha256(np.ascontiguousarray(keys).data).hexdigest()[:32]
        path = self.path / f"{name}.table"
        if not path.exists() or path.stat().st_size != size:
            self._require(self._find(keys))
            temporary = path.with_name(f"{name}.{os.getpid()}.tmp")
            step = max(1, min(memory_limit_bytes, 2**28) // (2 * self.dim * 4))
            try:
                with open(temporary, "xb") as file:
                    for start in range(0, len(keys), step):
                        rows = self._gather_mapped(keys[start : start + step])
                        file.write(np.ascontiguousarray(rows).data)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        self.touch()
        return np.memmap(path, self.storage, "r", shape=(len(keys), self.dim))

    def writer(self, flush_rows: int = 8192, flush_seconds: float = 10.0) -> Writer:
        """A writer that commits every so many rows or seconds, and what is left at its end."""
        return Writer(self, flush_rows, flush_seconds)

    def verify(self) -> list[str]:
        """Check every segment against its checksum; damaged ones are set aside and named."""
        damaged = []
        for name, segment in list(self._segments.items()):
            try:
                segment.verify()
            except (DamagedSegmentError, FileNotFoundError) as error:
                damaged.append(name)
                self._quarantine(name, error)
        self._index = None
        self.refresh()
        return damaged

    @property
    def canary(self) -> dict[str, Any] | None:
        """What the canary items were embedded as when the space was made, or None."""
        try:
            data = json.loads((self.path / "canary.json").read_text())
            return data if isinstance(data, dict) and "rows" in data else None
        except (FileNotFoundError, ValueError):
            return None

    def set_canary(self, name: str, rows: Tensor | ArrayLike) -> None:
        """Keep the embedding of some fixed items, to notice later if the encoder computes something else.

        Raises:
            CacheWriteError: it cannot be written.
        """
        data = {"name": name, "rows": np.asarray(rows, np.float64).tolist()}
        try:
            write_atomically(self.path / "canary.json", json.dumps(data).encode())
        except OSError as error:
            raise explain_write_error(error, self.path) from error

    def check_canary(self, rows: Tensor | ArrayLike) -> None:
        """Compare a fresh embedding of the fixed items with the kept one.

        Raises:
            StaleCacheError: a cosine is below 0.9999: decoder, library or hardware changed the result.
        """
        kept = self.canary
        if kept is None:
            return
        old, new = np.asarray(kept["rows"], float), np.asarray(rows, float)
        if old.shape == new.shape:
            norms = np.linalg.norm(old, axis=1) * np.linalg.norm(new, axis=1)
            cosine = np.where(norms > 0, (old * new).sum(1) / np.where(norms > 0, norms, 1), (old == new).all(1))
            if (cosine >= _CANARY_COSINE).all():
                return
            found = f"cosine {cosine.min():.5f} with what they were"
        else:
            found = f"shape {list(new.shape)} instead of {list(old.shape)}"
        raise StaleCacheError(
            f"the encoder gives its control items {found}, although its fingerprint is unchanged (another "
            f"library version or decoder?). Remove the space ({self.id}) to embed anew, or go back to that version."
        )

    def touch(self) -> None:
        """Note that the space was used now; eviction removes the least recently used."""
        stamp = self.path / "last_used"
        try:
            if not stamp.exists() or time.time() - stamp.stat().st_mtime > _TOUCH_SECONDS:
                stamp.touch()
        except OSError:  # a cache that one may only read
            pass

    def _find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        keys = np.ascontiguousarray(keys, np.uint8)
        if keys.ndim != 2 or keys.shape[1] != KEY_BYTES:
            raise ValueError(f"keys are {list(keys.shape)}; they must be [n, {KEY_BYTES}] uint8.")
        if self._index is None:
            self.refresh()
        assert self._index is not None
        return np.arange(len(keys)) if self._in_order(keys) else self._index.find(keys)

    def _in_order(self, keys: NDArray[np.uint8]) -> bool:
        # A dataset that is read as it was embedded, the common case, needs no search.
        return len(keys) == len(self) and all(
            np.array_equal(keys[start : start + segment.count], segment.keys)
            for start, segment in zip(self._starts, self._segments.values(), strict=False)
        )

    def _require(self, places: NDArray[np.int64]) -> None:
        missing = np.flatnonzero(places < 0)
        if len(missing):
            listed = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
            raise MissingRowsError(
                f"{len(missing)} of {len(places)} rows are not in the cache (positions {listed}); embed them again."
            )

    def _load(self, used: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
        """Whole segments in one block of memory; None if one proved damaged or vanished (look again)."""
        segments = list(self._segments.items())
        counts = [segments[i][1].count for i in used]
        starts = np.cumsum([0, *counts])
        rows = np.empty((starts[-1], self.dim), self.storage)
        for place, i in enumerate(used):
            name, segment = segments[i]
            try:
                segment.read_into(rows[starts[place] : starts[place + 1]])
            except FileNotFoundError:  # merged into another by a compaction
                self._index = None
                self.refresh()
                return None
            except DamagedSegmentError as error:
                self._quarantine(name, error)
                self._index = None
                self.refresh()
                return None
        return rows, starts[:-1]

    def _gather_mapped(self, keys: NDArray[np.uint8]) -> NDArray[Any]:
        places = self._find(keys)
        self._require(places)
        rows = np.empty((len(keys), self.dim), self.storage)
        owner = np.searchsorted(self._starts, places, side="right") - 1
        segments = list(self._segments.values())
        for i in np.unique(owner):
            mine = owner == i
            rows[mine] = segments[i].rows()[places[mine] - self._starts[i]]
        return rows

    def _open(self, name: str) -> Segment | None:
        try:
            segment = Segment(self.path / name, self.id)
            if segment.dim != self.dim or segment.dtype != self.storage:
                raise DamagedSegmentError(f"{name} holds {segment.dim} x {segment.dtype}")
            return segment
        except FileNotFoundError:
            return None
        except DamagedSegmentError as error:
            self._quarantine(name, error)
            return None

    def _quarantine(self, name: str, error: Exception) -> None:
        _LOG.warning("cache space %s: %s; set aside, its rows are embedded again.", self.id[:8], error)
        self._segments.pop(name, None)
        try:
            os.replace(self.path / name, self.path / f"{name}.bad")
        except OSError:  # read-only, or already moved by another process: it is left out here all the same
            pass


class Writer:
    """Collects rows and commits them as segments; use it in a ``with`` block."""

    def __init__(self, space: Space, flush_rows: int, flush_seconds: float) -> None:
        self._space, self._flush_rows, self._flush_seconds = space, flush_rows, flush_seconds
        self._keys: list[NDArray[np.uint8]] = []
        self._rows: list[NDArray[Any]] = []
        self._waiting, self._since = 0, time.monotonic()

    def add(self, keys: NDArray[np.uint8], rows: Tensor | ArrayLike) -> None:
        """Take rows ``[n, D]`` under their keys ``[n, 16]``.

        Raises:
            ValueError: wrong shape, NaN or infinity, or a value that the storage type cannot hold.
            CacheWriteError: a commit failed; earlier commits are safe.
        """
        given = rows.detach().cpu() if isinstance(rows, Tensor) else torch.from_numpy(np.ascontiguousarray(rows))
        if given.shape != (len(keys), self._space.dim):
            raise ValueError(f"rows are {list(given.shape)}; they must be [{len(keys)}, {self._space.dim}].")
        kind = getattr(torch, str(self._space.storage))
        stored = given.to(kind).numpy()
        finite = _finite_rows(stored)
        if not finite.all():
            bad = int(np.flatnonzero(~finite)[0])
            if given[bad].isfinite().all():
                reach = f"{given[bad].abs().max():.3g}"
                reason = f"reaches {reach}, too large for {self._space.storage}; use storage='float32'"
            else:
                reason = "is NaN or infinite"
            raise ValueError(f"the embedding number {bad} of this batch {reason}; it was not stored.")
        full = self._waiting + len(stored) >= self._flush_rows
        if not full and given.dtype == kind:
            stored = stored.copy()  # the caller may use its memory again before the commit
        self._keys.append(np.array(keys, np.uint8))
        self._rows.append(stored)
        self._waiting += len(stored)
        if self._waiting >= self._flush_rows or time.monotonic() - self._since > self._flush_seconds:
            self.flush()

    def flush(self) -> None:
        """Commit what was added."""
        if self._waiting:
            keys, rows = (parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in (self._keys, self._rows))
            try:
                write_segment(self._space.path, self._space.id, keys, rows)
            except OSError as error:
                raise explain_write_error(error, self._space.path) from error
            self._keys, self._rows, self._waiting = [], [], 0
            self._space.touch()
        self._since = time.monotonic()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What was computed before an error or an interruption is kept.
        self.flush()
        self._space.refresh()


def _finite_rows(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows hold numbers only; of half precision by its exponent bits, which is much faster."""
    if rows.dtype == np.float16:
        return np.asarray(((rows.view(np.uint16) & 0x7C00) != 0x7C00).all(1))
    return np.asarray(np.isfinite(rows).all(1))


def explain_write_error(error: OSError, path: Path) -> CacheWriteError:
    """The same error in words that say what to do."""
    what: dict[int | None, str] = {
        errno.ENOSPC: "the disk is full; free some space, or prune the cache",
        errno.EDQUOT: "the disk quota is used up; free some space, or prune the cache",
        errno.EROFS: "it lies on a read-only file system; set FEWSHOT_CACHE to a folder of yours",
        errno.EACCES: "permission denied; set FEWSHOT_CACHE to a folder of yours",
        errno.EPERM: "permission denied; set FEWSHOT_CACHE to a folder of yours",
        errno.EFBIG: "the file would exceed the size limit of this process",
    }
    reason = what.get(error.errno, str(error))
    return CacheWriteError(error.errno, f"cannot write to the embedding cache {path}: {reason}. Earlier rows are safe.")


def touched(path: Path) -> float:
    """When a space was last used, in seconds since the epoch."""
    newest: Callable[[Path], float] = lambda file: file.stat().st_mtime if file.exists() else 0.0  # noqa: E731
    return max(newest(path / "last_used"), newest(path / "space.json"))

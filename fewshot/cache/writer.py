"""`Writer`: collects rows and commits them as segments."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fewshot.cache.compaction import merge_small
from fewshot.cache.errors import explain_write_error
from fewshot.cache.segment_writing import write_segment

if TYPE_CHECKING:
    from fewshot.cache.space import Space


class Writer:
    """Collects rows and commits them as segments; use it in a ``with`` block."""

    def __init__(self, space: Space, flush_rows: int, flush_seconds: float) -> None:
        self._space, self._flush_rows, self._flush_seconds = space, flush_rows, flush_seconds
        self._keys: list[NDArray[np.uint8]] = []
        self._rows: list[NDArray[Any]] = []
        self._waiting, self._since, self._commits = 0, time.monotonic(), 0

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
                largest = f"{given[bad].abs().max():.3g}"
                reason = f"has the value {largest}, too large for {self._space.storage}; use storage='float32'"
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
            self._commits += 1
            self._space.touch()
        self._since = time.monotonic()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What was computed before an error or an interruption is kept.
        self.flush()
        if self._commits and kind is None:
            merge_small(self._space)
        self._space.refresh()


def _finite_rows(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows hold numbers only; of half precision by its exponent bits, which is much faster."""
    if rows.dtype == np.float16:
        return np.asarray(((rows.view(np.uint16) & 0x7C00) != 0x7C00).all(1))
    return np.asarray(np.isfinite(rows).all(1))

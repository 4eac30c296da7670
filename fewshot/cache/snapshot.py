"""The content of a space at one moment: its segments, and where each key is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.cache.checksums import KEY_BYTES
from fewshot.cache.index import KeyIndex
from fewshot.cache.segment import Segment

Put = Callable[[Any, NDArray[Any]], None]  # (positions in the result, rows): keeps rows of one piece


class SegmentError(Exception):
    """Rows of a segment could not be read; its cause says why."""

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment.path.name)
        self.segment = segment


class Snapshot:
    """Segments in the order of their names, never changed; so threads may share it.

    Args:
        segments: all of one space.
    """

    def __init__(self, segments: Iterable[Segment] = ()) -> None:
        self.segments = tuple(segments)
        self.starts = np.cumsum([0, *(segment.count for segment in self.segments)])

    def __len__(self) -> int:
        """Rows, duplicates counted."""
        return int(self.starts[-1])

    @cached_property
    def index(self) -> KeyIndex:
        """Where each key is."""
        return KeyIndex(self.keys)

    @property
    def keys(self) -> NDArray[np.uint8]:
        """Keys in the order of storage ``[n, 16]``, duplicates among them."""
        return np.concatenate([np.zeros((0, KEY_BYTES), np.uint8), *(segment.keys for segment in self.segments)])

    def distinct_keys(self) -> NDArray[np.uint8]:
        """Keys in the order of storage ``[n, 16]``, each once."""
        keys = self.keys
        names = np.ascontiguousarray(keys).view(f"V{KEY_BYTES}").reshape(-1)
        return np.ascontiguousarray(keys[np.sort(np.unique(names, return_index=True)[1])])

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Place of each key ``[n]`` in the order of storage; -1 where it is not there."""
        return np.arange(len(keys)) if self._in_order(keys) else self.index.find(keys)

    def gather(self, places: NDArray[np.int64], put: Put) -> None:
        """Hand out rows, a few at a time, each compared with its checksum; good once this returns.

        Args:
            places: of the rows ``[n]``, as `find` gives them, none of them -1.
            put: called with part of the rows: which of the n they are (an array or a slice) and the rows.

        Raises:
            SegmentError: a segment is gone, damaged or unreadable.
        """
        sorted_already = bool((places[1:] >= places[:-1]).all())
        order = None if sorted_already else np.argsort(places, kind="stable")
        ascending = places if order is None else places[order]
        bounds = np.searchsorted(ascending, self.starts)
        for number, segment in enumerate(self.segments):
            low, high = bounds[number], bounds[number + 1]
            if low == high:
                continue
            mine = ascending[low:high] - self.starts[number]
            try:
                for first, rows in segment.pieces(mine):
                    begin, end = np.searchsorted(mine, [first, first + len(rows)])
                    if begin < end:
                        here, taken = mine[begin:end] - first, slice(int(low + begin), int(low + end))
                        whole = len(here) == len(rows) and here[0] == 0 and bool((np.diff(here) == 1).all())
                        put(taken if order is None else order[taken], rows if whole else rows[here])
            except (ValueError, OSError) as error:
                raise SegmentError(segment) from error

    def _in_order(self, keys: NDArray[np.uint8]) -> bool:
        # A dataset that is read as it was embedded, the common case, needs no search.
        return len(keys) == len(self) and all(
            np.array_equal(keys[start : start + segment.count], segment.keys)
            for start, segment in zip(self.starts, self.segments, strict=False)
        )

"""Where each key is: a sorted index in memory, derived from the segments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class KeyIndex:
    """Keys of 16 bytes -> their position in the order of storage; of duplicates the position of one.

    Sorted by the first half of the key; equal halves are distinguished by the second, among the ties.

    Args:
        keys: ``[n, 16]`` uint8, in storage order.
    """

    def __init__(self, keys: NDArray[np.uint8]) -> None:
        halves = np.ascontiguousarray(keys).view(np.uint64).reshape(-1, 2)
        self._order = np.argsort(halves[:, 0], kind="stable")
        self._high = halves[self._order, 0]
        self._low = halves[self._order, 1]

    def __len__(self) -> int:
        """Number of keys, duplicates counted."""
        return len(self._high)

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Storage position of each key ``[n]``; -1 where it is not there."""
        found = np.full(len(keys), -1, np.int64)
        if not len(self._high) or not len(keys):
            return found
        halves = np.ascontiguousarray(keys).view(np.uint64).reshape(-1, 2)
        order = np.argsort(halves[:, 0])  # asking in sorted order keeps the search in the processor's cache
        high, low = halves[order, 0], halves[order, 1]
        place = np.searchsorted(self._high, high)
        open_, result = np.arange(len(keys)), np.full(len(keys), -1, np.int64)
        while len(open_):
            here = np.minimum(place[open_], len(self._high) - 1)
            alive = (place[open_] < len(self._high)) & (self._high[here] == high[open_])
            hit = alive & (self._low[here] == low[open_])
            result[open_[hit]] = self._order[here[hit]]
            open_ = open_[alive & ~hit]
            place[open_] += 1
        found[order] = result
        return found

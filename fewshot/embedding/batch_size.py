"""`BatchSize`: how many items go into a forward pass, found on the work itself."""

from __future__ import annotations

import torch

_FIRST = {"cpu": 2, "cuda": 64}  # on a CPU small batches keep a layer's output in its caches
_LARGEST = {"cpu": 256, "cuda": 4096}
_TRIALS = 3  # batches of each size, of which the fastest counts: the others met decoding threads or a cold cache
_GAIN = 1.05  # a larger batch must be this much faster, or it is only more memory and more padding


class BatchSize:
    """The size of the next batch: fixed, or doubled for as long as that makes an item cheaper.

    The search computes nothing but the work that is to be done anyway. It ends at the first size that gains
    less than 5 %, or that does not fit into memory.

    Args:
        fixed: a size that is never changed, or None to search.
        device: whose first and largest size apply.

    Attributes:
        size: of the next batch.
        searching: whether `note` wants to be told the times of batches.
    """

    def __init__(self, fixed: int | None, device: torch.device) -> None:
        kind = device.type if device.type in _FIRST else "cuda"
        self.size = fixed or _FIRST[kind]
        self.searching = fixed is None
        self._largest = _LARGEST[kind]
        self._best, self._best_time = self.size, float("inf")
        self._times: list[float] = []

    def note(self, items: int, cost: float, seconds: float) -> None:
        """A batch of so many items took this long; its cost is in any unit that a fair comparison needs.

        Items that differ (texts, sorted by length) are compared by what they cost, not by their number.
        """
        if not self.searching or items != self.size:  # decoded ahead at another size, or the last of the work
            return
        self._times.append(seconds / cost)
        if len(self._times) < _TRIALS:
            return
        fastest, self._times = min(self._times), []
        if fastest * _GAIN <= self._best_time:
            self._best, self._best_time = self.size, fastest
            self.size = min(2 * self.size, self._largest)
            self.searching = self.size != self._best
        else:
            self.settle()

    def settle(self, limit: int | None = None) -> None:
        """End the search at the best size so far, or at a limit that memory has set."""
        self.size = self._best if self.searching else self.size
        if limit is not None:
            self.size = min(self.size, limit)
        self.searching = False

"""`Plan`: which items of a dataset have to be computed, by the content of each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.embedding.items import Items, content_key
from fewshot.embedding.loading import Work
from fewshot.embedding.views import Augment, view_fields

_HASHED_TOGETHER = 64  # files a thread reads in one go


class UnreadableItemError(ValueError):
    """An item cannot be embedded.

    Attributes:
        reason: which, and why, without what `embed` offers to do about it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason} Repair or remove it, or skip such rows with on_error='skip'.")
        self.reason = reason


class Plan:
    """The content key of every item, and what follows from comparing them with a cache.

    Args:
        items: M rows.
        views: augmented views of each row V, or 0 for the plain item (V = 1).
        augment: makes a view.
        seed: of the views.
        threads: that read files.

    Attributes:
        keys: ``[M, V, 16]``, uint8.
        failures: row -> why it cannot be embedded, as far as is known.
        duplicates: items (views of items) whose content an earlier one has already.
    """

    def __init__(self, items: Items, views: int, augment: Augment | None, seed: int, threads: int) -> None:
        self.items, self.augment = items, augment
        self.fields = view_fields(views, seed)
        self.keys: NDArray[np.uint8] = np.zeros((len(items), len(self.fields), 16), np.uint8)
        self.failures: dict[int, str] = {}
        if items.tag == "file":
            starts = range(0, len(items), _HASHED_TOGETHER)
            parts = [range(start, min(start + _HASHED_TOGETHER, len(items))) for start in starts]
            with ThreadPoolExecutor(max(1, min(threads, len(parts)))) as pool:
                for _ in pool.map(self._hash, parts):
                    pass
        else:
            self._hash(range(len(items)))
        readable = np.ones(len(items), dtype=bool)
        readable[list(self.failures)] = False
        units = np.flatnonzero(np.repeat(readable, len(self.fields)))
        names = np.ascontiguousarray(self.keys.reshape(-1, 16)[units]).view("V16").reshape(-1)
        self.units = np.sort(units[np.unique(names, return_index=True)[1]])  # the first with each content
        self.duplicates = len(units) - len(self.units)

    def missing(self, space: Any) -> Work:
        """What the space lacks, each content once, without what has failed."""
        flat, views = self.keys.reshape(-1, 16), len(self.fields)
        units = self.units
        if len(units):
            units = units[~np.asarray(space.contains(flat[units]))]
        if self.failures:
            units = units[~np.isin(units // views, list(self.failures))]
        rows = (units // views).tolist()
        fields = [self.fields[unit % views] for unit in units.tolist()]
        return Work(self.items, rows, flat[units], fields, self.augment)

    def present(self, space: Any) -> NDArray[np.bool_]:
        """Which rows the space has, with all their views ``[M]``; notes why the others failed."""
        found: NDArray[np.bool_] = space.contains(self.keys.reshape(-1, 16))
        there: NDArray[np.bool_] = np.logical_and.reduce(found.reshape(self.keys.shape[:2]), axis=1)
        there[list(self.failures)] = False
        reasons = {self.keys[row].tobytes(): reason for row, reason in self.failures.items()}
        for row in np.flatnonzero(~there).tolist():
            if row not in self.failures and self.keys[row].tobytes() in reasons:
                self.failures[row] = reasons[self.keys[row].tobytes()]
        return there

    def read(self, space: Any, rows: NDArray[np.bool_], memory_limit: int) -> Tensor | NDArray[Any]:
        """The features of those rows ``[m, D]``; of several views, their mean."""
        keys = self.keys[rows]  # [m, V, 16]
        if keys.shape[1] == 1:
            return space.table(np.ascontiguousarray(keys[:, 0]), memory_limit_bytes=memory_limit)
        total = space.read(np.ascontiguousarray(keys[:, 0]))
        for view in range(1, keys.shape[1]):
            total += space.read(np.ascontiguousarray(keys[:, view]))
        return total.div_(keys.shape[1])

    def explain(self, row: int) -> str:
        """Why a row failed, naming the item."""
        name, reason = self.items.describe(row), self.failures[row]
        return reason if name in reason else f"cannot embed {name}: {reason.rstrip('.')}."

    def _hash(self, rows: range) -> None:
        for row in rows:
            try:
                content = self.items.payload(row)
                for view, fields in enumerate(self.fields):
                    key = content_key(self.items, content, fields)
                    self.keys[row, view] = np.frombuffer(key, np.uint8)
            except (OSError, ValueError) as error:  # a file that is missing, or no picture
                self.failures[row] = str(error)


def trial(items: Items, encoder: Any, forward: Any) -> int:
    """Features D of a row, where only the data can tell: the first row that can be read is embedded.

    Raises:
        ValueError: not one row can be read; the message names the first.
    """
    return int(forward(first_input(items, encoder)).shape[1])


def first_input(items: Items, encoder: Any) -> Any:
    """What the encoder is given for the first row that can be read, as a batch of one.

    Raises:
        ValueError: not one row can be read; the message names the first.
    """
    from fewshot.embedding.batch_size import BatchSize
    from fewshot.embedding.loading import batches

    here = torch.device("cpu")
    why = None
    for first in range(0, len(items), 16):
        plan = Plan(items.part(first, min(len(items), first + 16)), 0, None, 0, 1)
        for row in range(len(plan.items)):
            work = Work(plan.items, [row], plan.keys[row], [{}])
            for batch in batches(work, encoder, BatchSize(1, here), 1, here):
                if batch.units:
                    return batch.inputs
                plan.failures.setdefault(row, next(iter(batch.failures.values())))
        why = why or plan.explain(0)
    raise ValueError(f"not one row of {items.name!r} could be embedded. {why}")

"""`OpenSetSampler`: some queries are of none of the episode's classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from episodes.counter import distinct, others, uniforms
from episodes.sampler import _BLOCK, OPEN, Draw, EpisodeSampler

_ROWS = 2**35  # a stream of random numbers that no other sampler uses


class OpenSetSampler(EpisodeSampler):
    """`EpisodeSampler` with further queries of `open_way` other classes, whose target is `OPEN` (-2).

    Accuracy is marked on the known queries only; ``evaluate(..., metric="auroc")`` and ``"fpr95"`` mark how well
    a learner's outlier score tells the open queries from the known ones. Known classes, support and queries
    are those of `EpisodeSampler` with the same arguments (if the same classes have enough rows).

    Args:
        labels: class of each row of the dataset ``[M]``, integers from 0.
        way: known classes per episode N.
        shot: support rows per class K.
        query: query rows per class, known and open.
        seed: 0 to 2**64 - 1.
        open_way: further classes; as many as known ones by default.
        **more: `classes`, `episodes` and `name`, as for `EpisodeSampler`.

    Raises:
        ValueError: fewer than ``way + open_way`` classes have enough rows, or an argument is out of range.

    Reference: Liu, Kang, Li, Hua, Vasconcelos, "Few-shot open-set recognition using meta-learning", CVPR 2020.

    >>> sampler = OpenSetSampler([0] * 9 + [1] * 9 + [2] * 9, way=2, shot=1, query=2, open_way=1)
    >>> sampler.draw(0, 1).targets
    tensor([[ 0,  0,  1,  1, -2, -2]])
    """

    kind = "open-set"

    def __init__(
        self,
        labels: Any,
        way: int = 5,
        shot: int = 1,
        query: int = 15,
        seed: int = 0,
        *,
        open_way: int | None = None,
        **more: Any,
    ) -> None:
        super().__init__(labels, way, shot, query, seed, **more)
        self.open_way = self.way if open_way is None else open_way
        if self.open_way < 1 or self.way + self.open_way > len(self.classes):
            raise ValueError(
                f"way={self.way}, open_way={self.open_way}, but {self.name!r} has {len(self.classes)} classes with at "
                f"least shot + query = {self.shot + self.query} rows; open_way must be at least 1, and both together "
                "no more than those."
            )

    def draw(self, first: int = 0, count: int = 1) -> Draw:
        """Episodes ``first, ..., first + count - 1``."""
        drawn = super().draw(first, count)
        rows = np.empty((count, self.open_way * self.query), np.int64)
        for start in range(0, count, _BLOCK):
            stop = min(start + _BLOCK, count)
            rows[start:stop] = self._open_rows(first + start, stop - start)
        targets = torch.full(rows.shape, OPEN, dtype=torch.int64)
        return Draw(
            drawn.support, drawn.labels, torch.cat([drawn.query, torch.from_numpy(rows)], 1),
            torch.cat([drawn.targets, targets], 1), drawn.classes, drawn.ids,
        )  # fmt: skip

    def _open_rows(self, first: int, count: int) -> Any:
        known = self._choose(first, count)  # [E, N]
        further = uniforms(self.seed, _ROWS + 1, first, count, self.open_way).T
        left = others(known, further, len(self.classes))  # [E, open_way]
        numbers = uniforms(self.seed, _ROWS, first, count, self.open_way * self.query)
        numbers = numbers.reshape(count, self.open_way, self.query).transpose(2, 0, 1)
        sizes = self._sizes[left].reshape(-1) if self._equal is None else self._equal
        items = distinct(np.ascontiguousarray(numbers).reshape(self.query, -1), sizes)
        rows = np.take(self._order, items.reshape(self.query, count, self.open_way) + self._starts[left])
        return rows.transpose(1, 2, 0).reshape(count, -1)

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the dataset, as JSON values."""
        return {**super().recipe(), "open_way": self.open_way}

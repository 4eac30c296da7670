"""`OpenSetSampler`: some queries are of none of the episode's classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.counter import Stream, distinct, others, uniforms
from episodes.draw import OPEN, Draw
from episodes.samplers.fixed import EpisodeSampler
from episodes.samplers.pool import whole


class OpenSetSampler(EpisodeSampler):
    """`EpisodeSampler` with further queries of `open_way` other classes, whose target is `OPEN` (-2).

    Accuracy is of the known queries only; ``evaluate(..., metric="auroc")`` and ``"fpr95"`` measure how well a
    learner's outlier score separates the open queries from the known ones. Known classes, support and queries
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
        self.open_way = self.way if open_way is None else whole("open_way", open_way, 1)
        if self.way + self.open_way > len(self.classes):
            raise ValueError(
                f"way={self.way}, open_way={self.open_way}, but {self.name!r} has {len(self.classes)} classes with at "
                f"least shot + query = {self.shot + self.query} rows; both together may be no more "
                "than those."
            )

    def _block(self, first: int, count: int) -> Draw:
        drawn = super()._block(first, count)
        rows = torch.from_numpy(self._open_rows(first, count))
        targets = torch.full(rows.shape, OPEN)
        return replace(drawn, query=torch.cat([drawn.query, rows], 1), targets=torch.cat([drawn.targets, targets], 1))

    def _open_rows(self, first: int, count: int) -> NDArray[np.int64]:
        known = self._choose(first, count)  # [E, N]
        further = uniforms(self.seed, Stream.OPEN_CLASSES, first, count, self.open_way).T
        left = others(known, further, len(self.classes))  # [E, open_way]
        numbers = uniforms(self.seed, Stream.OPEN_ROWS, first, count, self.open_way * self.query)
        numbers = numbers.reshape(count, self.open_way, self.query).transpose(2, 0, 1)
        items = distinct(np.ascontiguousarray(numbers).reshape(self.query, -1), self._pool.limits(left))
        rows = self._pool.rows(items.reshape(self.query, count, self.open_way), left)
        return rows.transpose(1, 2, 0).reshape(count, self.open_way * self.query)

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the rows themselves, as JSON values."""
        return {**super().recipe(), "open_way": self.open_way}

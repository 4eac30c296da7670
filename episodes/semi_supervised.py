"""`SemiSupervisedSampler`: unlabelled rows beside support and queries, with or without distractors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.counter import distinct, others, uniforms
from episodes.sampler import _BLOCK, Draw, EpisodeSampler

_OTHERS, _ITEMS = 2**34, 2**34 + 1  # streams of random numbers that no other sampler uses


class SemiSupervisedSampler(EpisodeSampler):
    """`EpisodeSampler` with `unlabelled` more rows of each class, whose labels nobody gets to know.

    Learners that use them (``soft-kmeans``, ``label-propagation``) find them in ``Episode.unlabelled``; for all
    others the episode is the same without. With distractors, as many rows of each of some further classes are
    mixed in, which belong to none of the episode's.

    Args:
        labels: class of each row of the dataset ``[M]``, integers from 0.
        way: classes per episode N.
        shot: support rows per class K.
        query: query rows per class.
        seed: 0 to 2**64 - 1.
        unlabelled: unlabelled rows per class.
        distractors: further classes that unlabelled rows come from.
        **more: `classes`, `episodes` and `name`, as for `EpisodeSampler`.

    Raises:
        ValueError: fewer than ``way + distractors`` classes have ``shot + unlabelled + query`` rows, or an argument
            is out of range.

    Reference: Ren et al., "Meta-learning for semi-supervised few-shot classification", ICLR 2018,
    arXiv:1803.00676.

    >>> sampler = SemiSupervisedSampler([0] * 9 + [1] * 9 + [2] * 9, way=2, shot=1, query=2, distractors=1)
    >>> drawn = sampler.draw(0, 4)
    >>> drawn.support.shape, drawn.unlabelled.shape
    (torch.Size([4, 2]), torch.Size([4, 15]))
    """

    kind = "semi-supervised"

    def __init__(
        self,
        labels: Any,
        way: int = 5,
        shot: int = 1,
        query: int = 15,
        seed: int = 0,
        *,
        unlabelled: int = 5,
        distractors: int = 0,
        **more: Any,
    ) -> None:
        if unlabelled < 1 or distractors < 0:
            raise ValueError(f"unlabelled={unlabelled}, distractors={distractors}; at least 1 and at least 0.")
        # Supports of more shots contain those of fewer: the shots beyond the first are the unlabelled rows.
        self._all = EpisodeSampler(labels, way, shot + unlabelled, query, seed, **more)
        super().__init__(labels, way, shot, query, seed, **{**more, "classes": self._all.classes})
        self.unlabelled, self.distractors = unlabelled, distractors
        if self.way + distractors > len(self.classes):
            raise ValueError(
                f"way={self.way}, distractors={distractors}, but {self.name!r} has {len(self.classes)} classes with at "
                f"least shot + unlabelled + query = {shot + unlabelled + query} rows; lower one of them."
            )

    def draw(self, first: int = 0, count: int = 1) -> Draw:
        """Episodes ``first, ..., first + count - 1``."""
        drawn = self._all.draw(first, count)
        by_class = drawn.support.view(count, self.way, self._all.shot)
        unlabelled = by_class[:, :, self.shot :].flatten(1)
        if self.distractors:
            others = np.empty((count, self.distractors * self.unlabelled), np.int64)
            for start in range(0, count, _BLOCK):
                stop = min(start + _BLOCK, count)
                others[start:stop] = self._distractors(first + start, stop - start)
            unlabelled = torch.cat([unlabelled, torch.from_numpy(others)], 1)
        labels = torch.arange(self.way).repeat_interleave(self.shot).expand(count, -1)
        return replace(drawn, support=by_class[:, :, : self.shot].flatten(1), labels=labels, unlabelled=unlabelled)

    def _distractors(self, first: int, count: int) -> NDArray[np.int64]:
        further = uniforms(self.seed, _OTHERS, first, count, self.distractors).T
        classes = others(self._choose(first, count), further, len(self.classes))  # [E, distractors]
        numbers = uniforms(self.seed, _ITEMS, first, count, self.distractors * self.unlabelled)
        numbers = numbers.reshape(count, self.distractors, self.unlabelled).transpose(2, 0, 1)
        sizes = self._sizes[classes].reshape(-1)
        items = distinct(np.ascontiguousarray(numbers).reshape(self.unlabelled, -1), sizes)
        rows = np.take(self._order, items.reshape(numbers.shape) + self._starts[classes])
        return rows.transpose(1, 2, 0).reshape(count, -1)

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the dataset, as JSON values."""
        return {**super().recipe(), "unlabelled": self.unlabelled, "distractors": self.distractors}

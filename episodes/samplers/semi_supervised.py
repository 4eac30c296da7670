"""`SemiSupervisedSampler`: unlabelled rows beside support and queries, with or without distractors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.counter import Stream, distinct, others, uniforms
from episodes.draw import Draw
from episodes.samplers.fixed import EpisodeSampler
from episodes.samplers.pool import whole


class SemiSupervisedSampler(EpisodeSampler):
    """`EpisodeSampler` with `unlabelled` more rows of each class, whose labels are hidden.

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
        self.unlabelled, self.distractors = whole("unlabelled", unlabelled, 1), whole("distractors", distractors, 0)
        super().__init__(labels, way, shot, query, seed, **more)
        if self.way + self.distractors > len(self.classes):
            words, need = self._needs()
            raise ValueError(
                f"way={self.way}, distractors={distractors}, but {self.name!r} has {len(self.classes)} classes with at "
                f"least {words} = {need} rows; lower one of them."
            )

    def _needs(self) -> tuple[str, int]:
        return "shot + unlabelled + query", self.shot + self.unlabelled + self.query

    def _block(self, first: int, count: int) -> Draw:
        # Supports of more shots contain those of fewer: the shots beyond the first are the unlabelled rows.
        support, query, chosen = self._rows(first, count, self.shot + self.unlabelled)
        unlabelled = support[:, :, self.shot :].reshape(count, self.way * self.unlabelled)
        if self.distractors:
            unlabelled = np.concatenate([unlabelled, self._distractors(first, chosen)], 1)
        drawn = self._drawn(first, support[:, :, : self.shot], query, self.classes[chosen])
        return replace(drawn, unlabelled=torch.from_numpy(unlabelled))

    def _distractors(self, first: int, chosen: NDArray[np.int32]) -> NDArray[np.int64]:
        count = len(chosen)
        further = uniforms(self.seed, Stream.DISTRACTOR_CLASSES, first, count, self.distractors).T
        classes = others(chosen, further, len(self.classes))  # [E, distractors]
        numbers = uniforms(self.seed, Stream.DISTRACTOR_ROWS, first, count, self.distractors * self.unlabelled)
        numbers = numbers.reshape(count, self.distractors, self.unlabelled).transpose(2, 0, 1)
        items = distinct(np.ascontiguousarray(numbers).reshape(self.unlabelled, -1), self._pool.limits(classes))
        rows = self._pool.rows(items.reshape(numbers.shape), classes)
        return rows.transpose(1, 2, 0).reshape(count, self.distractors * self.unlabelled)

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the rows themselves, as JSON values."""
        return {**super().recipe(), "unlabelled": self.unlabelled, "distractors": self.distractors}

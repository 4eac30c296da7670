"""`ExhaustiveSampler`: all episodes there are, where they can be counted."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.draw import PADDING, Draw
from episodes.identity import digest_array
from episodes.samplers.pool import Pool, whole
from episodes.samplers.sampler import Sampler

_MOST_COMBINATIONS = 1_000_000  # of classes, which are held in memory


class ExhaustiveSampler(Sampler):
    """Every N-way K-shot episode of a small dataset once: all sets of classes, all supports, all other rows as queries.

    Episode e is the e-th in lexical order. Nothing is drawn, so a mean over all of them has no sampling error;
    its interval as a sample would mislead, and the spread over new data remains unknown. Where classes have unequal
    rows, episodes have unequally many queries and are padded with target -1; `Draw.groups` takes that away, so
    learners never see it.

    Args:
        labels: class of each row of the dataset ``[M]``, integers from 0.
        way: classes per episode N.
        shot: support rows per class K.
        classes: only these dataset classes; all by default.
        name: what error messages call the dataset.

    Attributes:
        available: how many episodes there are, ``Σ over sets of N classes Π C(rows_n, K)``.

    Raises:
        ValueError: too few classes have ``shot + 1`` rows, or there are more sets of classes than fit in memory.

    >>> sampler = ExhaustiveSampler([0, 0, 0, 1, 1, 1, 2, 2, 2], way=2, shot=1)
    >>> sampler.available, sampler.draw(0, 2).rows.tolist()
    (27, [[0, 3, 1, 2, 4, 5], [0, 4, 1, 2, 3, 5]])
    """

    kind = "exhaustive"

    def __init__(
        self, labels: Any, way: int = 5, shot: int = 1, *, classes: Any = None, name: str = "the dataset"
    ) -> None:
        self.way, self.shot, self.name = whole("way", way, 1), whole("shot", shot, 0), name
        self._pool = Pool(
            labels, self.shot + 1, self.way, classes=classes, name=name, words=("way", "shot + 1"),
            remedy="lower way or shot",
        )  # fmt: skip
        self.rows, self.classes, sizes = self._pool.length, self._pool.classes, self._pool.sizes
        self.alike = self._pool.equal is not None
        count = comb(len(self.classes), self.way)
        if count > _MOST_COMBINATIONS:
            raise ValueError(
                f"way={way} of {len(self.classes)} classes makes {count:,} sets of classes, more than "
                f"{_MOST_COMBINATIONS:,}; sample episodes instead (EpisodeSampler), or give fewer classes."
            )
        self._sets = np.array(list(combinations(range(len(self.classes)), self.way)), np.int64)  # [sets, N]
        self._choices = np.array([comb(int(size), self.shot) for size in sizes], object)  # exact integers
        self._ends = np.cumsum([int(np.prod(self._choices[row])) for row in self._sets], dtype=object)
        self.available: int = int(self._ends[-1])
        if self.available >= 2**62:
            raise ValueError(f"there are {self.available:,} episodes, too many to number; sample them instead.")
        self._ends = self._ends.astype(np.int64)
        self.episodes = self.available
        self._rest = int(sizes.max()) - self.shot  # query rows of the largest class
        most = int(sizes.max())
        self._binomials = np.array(
            [[min(comb(n, k), 2**62) for n in range(most + 1)] for k in range(self.shot + 1)], np.int64
        )

    @classmethod
    def of(cls, source: Any, way: int, shot: int, query: int, seed: int, **arguments: Any) -> ExhaustiveSampler:
        """A sampler over a source; all other rows are queries, and nothing is random."""
        return cls(source.labels, way, shot, name=source.name, **arguments)

    def _block(self, first: int, count: int) -> Draw:
        number = np.arange(first, first + count, dtype=np.int64)
        place = np.searchsorted(self._ends, number, side="right")
        chosen = self._sets[place]  # [E, N]
        left = number - np.where(place > 0, self._ends[place - 1], 0)
        sizes, choices = self._pool.sizes[chosen].astype(np.int64), self._choices[chosen].astype(np.int64)
        rank = np.empty_like(chosen)
        for n in reversed(range(self.way)):  # the last class varies first
            rank[:, n], left = left % choices[:, n], left // choices[:, n]
        items = self._unrank(rank, sizes)  # [E, N, K]
        taken = np.zeros((count, self.way, self.shot + self._rest), bool)
        np.put_along_axis(taken, items, True, 2)
        real = np.arange(taken.shape[2]) < sizes[..., None]
        order = np.argsort(np.where(real, taken, True), axis=2, kind="stable")[..., : self._rest]
        known = np.take_along_axis(real & ~taken, order, 2)  # [E, N, rest]
        each = chosen[..., None]
        rows = self._pool.rows(np.minimum(order, sizes[..., None] - 1), each)
        ways = np.arange(self.way)[:, None]
        return Draw(
            torch.from_numpy(self._pool.rows(items, each).reshape(count, self.way * self.shot)),
            torch.arange(self.way).repeat_interleave(self.shot).expand(count, -1),
            torch.from_numpy(rows.reshape(count, self.way * self._rest)),
            torch.from_numpy(np.where(known, ways, PADDING).reshape(count, self.way * self._rest)),
            torch.from_numpy(self.classes[chosen]),
            torch.from_numpy(number),
        )

    def _unrank(self, rank: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rank-th K-subset of ``0..size-1`` in lexical order ``[E, N, K]``."""
        # By complement: the r-th from the end in lexical order is the r-th of the reversed numbers in
        # co-lexical order, whose largest member c has C(c, K) <= r < C(c + 1, K).
        left = self._binomials[self.shot][sizes] - 1 - rank
        items = np.empty((*rank.shape, self.shot), np.int64)
        for k in range(self.shot, 0, -1):
            member = np.searchsorted(self._binomials[k], left, side="right") - 1
            items[..., self.shot - k] = sizes - 1 - member
            left = left - self._binomials[k][member]
        return items

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the rows themselves, as JSON values."""
        return {
            "sampler": self.kind, "way": self.way, "shot": self.shot, "classes": digest_array(self.classes),
            "from_classes": self._pool.share, "labels": self._pool.digest,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"ExhaustiveSampler(way={self.way}, shot={self.shot})"

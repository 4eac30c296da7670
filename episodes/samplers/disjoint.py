"""`DisjointSampler`: episodes that share no row, so that their interval covers the data too."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.counter import Stream, uniforms
from episodes.draw import Draw
from episodes.samplers.fixed import EpisodeSampler
from episodes.samplers.pool import Pool

_BLOCK = 1024  # episodes planned at a time


class DisjointSampler(EpisodeSampler):
    """N-way K-shot episodes no two of which share a row.

    Episodes sampled with replacement re-use the rows of one dataset. However many there are, an interval
    over them describes the sampling and not the data: it shrinks towards 0 around a score that another
    dataset from the same source would not give. Episodes without common rows are independent, so their
    interval, wider and honest, covers new rows of the same classes as well (not new classes).

    Each class is dealt out in shuffled packs of ``shot + query`` rows. An episode takes one pack of each of N
    classes, chosen at random in proportion to the packs they have left; a class that must be in every
    remaining episode goes first, so that `available` is the largest number possible. As with
    `EpisodeSampler`, an episode depends on the arguments and its number only. Large classes appear more
    often, and other shots give other episodes.

    Args:
        labels: class of each row of the dataset ``[M]``, integers from 0.
        way: classes per episode N.
        shot: support rows per class K; 0 is zero-shot.
        query: query rows per class; fewer give more episodes, and often a narrower interval.
        seed: 0 to 2**64 - 1.
        **more: `classes`, `episodes` and `name`, as for `EpisodeSampler`.

    Attributes:
        available: how many episodes there are.

    Raises:
        ValueError: too few classes have ``shot + query`` rows, or an argument is out of range.

    Reference: Lafargue, Smith, Vermet, Löwe, Reid, Gripon, Valmadre, "Oops, I sampled it again:
    reinterpreting confidence intervals in few-shot learning", TMLR 2024, arXiv:2409.02850.

    >>> sampler = DisjointSampler([0] * 8 + [1] * 8 + [2] * 8, way=2, shot=1, query=3)
    >>> sampler.available, sampler.draw(0, 3).rows.unique().numel()
    (3, 24)
    """

    kind = "disjoint"

    def __init__(self, labels: Any, way: int = 5, shot: int = 1, query: int = 15, seed: int = 0, **more: Any) -> None:
        super().__init__(labels, way, shot, query, seed, **more)
        self._packs: NDArray[np.int64] = self._pool.sizes.astype(np.int64) // (self.shot + self.query)
        self.available: int = _most(self._packs, self.way)
        if self.episodes is None:
            self.episodes = self.available
        elif self.episodes > self.available:
            raise ValueError(self._too_many(f"episodes={self.episodes}"))

    def _block(self, first: int, count: int) -> Draw:
        chosen, packs = (part[first : first + count] for part in self._plan)  # [E, N] each
        need = self.shot + self.query
        places = (packs * need)[..., None] + np.arange(need)
        rows = self._shuffled.rows(places, chosen[..., None])  # [E, N, K + query per class]
        return self._drawn(first, rows[..., : self.shot], rows[..., self.shot :], self.classes[chosen])

    @cached_property
    def _shuffled(self) -> Pool:
        """The rows, in random order within each class."""
        return self._pool.shuffled(uniforms(self.seed, Stream.DISJOINT_ROWS, 0, 1, self.rows)[0])

    @cached_property
    def _plan(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Class (as a position in `classes`) and pack number of each way of all episodes ``[available, N]``."""
        left = self._packs.copy()
        classes = np.empty((self.available, self.way), np.int64)
        packs = np.empty_like(classes)
        for episode in range(self.available):
            if episode % _BLOCK == 0:
                count = min(_BLOCK, self.available - episode)
                numbers = uniforms(self.seed, Stream.DISJOINT_CLASSES, episode, count, self.way)
            weights = left.copy()
            urgent = left >= self.available - episode
            for way in range(self.way):
                pool = np.where(urgent, weights, 0) if (weights[urgent] > 0).any() else weights
                cumulative = np.cumsum(pool)
                pick = int(
                    np.searchsorted(cumulative, int(numbers[episode % _BLOCK, way] * cumulative[-1]), side="right")
                )
                classes[episode, way] = pick
                packs[episode, way] = self._packs[pick] - left[pick]
                weights[pick] = 0
            left[classes[episode]] -= 1
        return classes, packs

    def _too_many(self, given: str) -> str:
        return (
            f"{given}, but only {self.available:,} disjoint {self.way}-way {self.shot}-shot episodes with "
            f"{self.query} queries per class can be made of {self.name!r}; ask for fewer, or lower shot or query."
        )


def _most(packs: NDArray[np.int64], way: int) -> int:
    """The largest E such that E episodes of `way` distinct classes can be dealt from these packs.

    A class serves each episode at most once, so E of them are possible just if
    ``sum_c min(packs_c, E) >= E way``.
    """
    low, high = 0, int(packs.sum()) // way
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(packs, middle).sum() >= middle * way else (low, middle - 1)
    return low

"""`EpisodeSampler`: episodes as row indices, a function of (seed, episode number) and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from episodes.counter import Stream, distinct, shot_stream, uniforms
from episodes.draw import Draw
from episodes.identity import digest_array
from episodes.samplers.pool import Pool, whole
from episodes.samplers.sampler import Sampler


class EpisodeSampler(Sampler):
    """N-way K-shot episodes with distinct classes and disjoint support and query rows.

    Episode e is the same drawn alone or in a batch of 10,000, in any process, on any platform. Episodes of
    one seed also share their classes and queries across ``shot``, and the support of K shots contains that
    of fewer (as long as the same classes have enough rows), so learning curves over shots are paired.

    Args:
        labels: class of each row of the dataset ``[M]``, integers from 0.
        way: classes per episode N.
        shot: support rows per class K; 0 is zero-shot.
        query: query rows per class.
        seed: 0 to 2**64 - 1.
        classes: draw only from these dataset classes (a split); all by default.
        episodes: how many episodes iteration yields; endless by default. `draw` is never limited.
        name: what error messages call the dataset.

    Raises:
        ValueError: too few classes have ``shot + query`` rows, or an argument is out of range.

    Use it alone, through `evaluate`, or as ``DataLoader(sampler.dataset(items), batch_sampler=sampler,
    collate_fn=sampler.collate)``: then each batch is one episode's (Episode, targets). A second pass over a
    finite sampler repeats the same episodes; for training leave `episodes` out.

    >>> sampler = EpisodeSampler([0, 0, 0, 1, 1, 1, 2, 2, 2], way=2, shot=1, query=2, seed=0)
    >>> drawn = sampler.draw(first=0, count=1000)
    >>> drawn.support.shape, drawn.query.shape, drawn.classes.shape
    (torch.Size([1000, 2]), torch.Size([1000, 4]), torch.Size([1000, 2]))
    """

    kind: ClassVar[str] = "fixed"
    _fewest_queries: ClassVar[int] = 1

    def __init__(
        self,
        labels: ArrayLike | Tensor,
        way: int = 5,
        shot: int = 1,
        query: int = 15,
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        episodes: int | None = None,
        name: str = "the dataset",
    ) -> None:
        self.way, self.shot = whole("way", way, 1), whole("shot", shot, 0)
        self.query, self.seed = whole("query", query, self._fewest_queries), whole_seed(seed)
        self.episodes = None if episodes is None else whole("episodes", episodes, 0)
        self.name = name
        words, need = self._needs()
        self._pool = Pool(labels, need, self.way, classes=classes, name=name, words=("way", words))
        self.rows = self._pool.length
        self.classes: NDArray[np.int64] = self._pool.classes  # dataset classes that have enough rows

    def _needs(self) -> tuple[str, int]:
        """How many rows a class must have, and how that is put together."""
        return "shot + query", self.shot + self.query

    def _block(self, first: int, count: int) -> Draw:
        support, query, chosen = self._rows(first, count, self.shot)
        return self._drawn(first, support, query, self.classes[chosen])

    def _drawn(
        self, first: int, support: NDArray[np.int64], query: NDArray[np.int64], classes: NDArray[np.int64]
    ) -> Draw:
        """Episodes of equal shots and equal queries: ``[E, N, K], [E, N, query per class], [E, N]``."""
        count, one = len(classes), torch.arange(self.way)
        return Draw(
            torch.from_numpy(support).flatten(1),
            one.repeat_interleave(support.shape[2]).expand(count, -1),
            torch.from_numpy(query).flatten(1),
            one.repeat_interleave(query.shape[2]).expand(count, -1),
            torch.from_numpy(classes),
            torch.arange(first, first + count),
        )

    def _rows(
        self, first: int, count: int, shot: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Support rows ``[E, N, shot]``, query rows ``[E, N, query]``, and classes as positions ``[E, N]``."""
        chosen = self._choose(first, count)
        numbers = self._numbers(first, count, shot)
        limits = self._pool.limits(chosen)
        items = distinct(numbers.reshape(len(numbers), -1), limits).reshape(numbers.shape)
        rows = self._pool.rows(items, chosen)  # [query + shot, E, N]
        support = np.ascontiguousarray(rows[self.query :].transpose(1, 2, 0))
        return support, np.ascontiguousarray(rows[: self.query].transpose(1, 2, 0)), chosen

    def _numbers(self, first: int, count: int, shot: int, more: int = 0) -> NDArray[np.float64]:
        """Random numbers of the rows ``[query + shot + more, E, N]``, the last ones not yet filled in.

        Queries come first, so that they outlive a change of shot.
        """
        way, query = self.way, self.query
        numbers = np.empty((query + shot + more, count, way))
        queries = uniforms(self.seed, Stream.QUERY, first, count, way * query).reshape(count, way, query)
        numbers[:query] = queries.transpose(2, 0, 1)
        for number in range(shot):
            numbers[query + number] = uniforms(self.seed, shot_stream(number), first, count, way)
        return numbers

    def _choose(self, first: int, count: int) -> NDArray[np.int32]:
        """The classes of each episode, as positions in `classes` ``[E, N]``."""
        return distinct(uniforms(self.seed, Stream.CLASSES, first, count, self.way).T, len(self.classes)).T

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the rows themselves, as JSON values."""
        return {
            "sampler": self.kind, "way": self.way, "shot": self.shot, "query": self.query, "seed": self.seed,
            "classes": digest_array(self.classes), "from_classes": self._pool.share, "labels": self._pool.digest,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"{type(self).__name__}(way={self.way}, shot={self.shot}, query={self.query}, seed={self.seed})"


def whole_seed(seed: Any) -> int:
    """A seed, 0 to 2**64 - 1."""
    try:
        if int(seed) == seed and 0 <= seed < 2**64:
            return int(seed)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"seed={seed!r}; it must be an integer from 0 to 2**64 - 1.")

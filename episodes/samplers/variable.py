"""`VariableSampler`: episodes of varying way and of unequal shots, as Meta-Dataset draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.counter import Stream, distinct, uniforms
from episodes.draw import PADDING, Draw
from episodes.identity import digest_array
from episodes.samplers.fixed import whole_seed
from episodes.samplers.pool import Pool, whole
from episodes.samplers.sampler import Sampler

_MOST_OF_A_CLASS = 100  # rows of one class that count when the support's size is drawn


class VariableSampler(Sampler):
    """Episodes whose way, support size and shots vary: the published scheme of Meta-Dataset.

    Of the classes with at least two rows more than queries, way N is uniform from `least_way` to `most_way`. With
    ``β ~ U(0, 1]``, the support has ``min(most_support, Σ_n ceil(β min(100, rows_n - query)))`` rows. Class n gets
    the share ``R_n ∝ exp(a_n) rows_n`` of them, ``a_n ~ U(log 0.5, log 2)``:
    ``K_n = min(floor(R_n (support - N)) + 1, rows_n - query)``. So every class has a row, and large classes have
    more. The number of queries is the same for every class of the episode.

    Episodes of a batch are padded to the largest: support rows with label -1, queries with target -1, ways with
    class -1. `Draw.groups` takes padding from the queries, so learners never see it.

    Args:
        labels: class of each row of the dataset ``[M]``, integers from 0.
        query: query rows per class at most; half of the smallest class of the episode if that is less.
        seed: 0 to 2**64 - 1.
        least_way: classes per episode at least.
        most_way: classes per episode at most; fewer where the dataset has fewer.
        most_support: support rows per episode at most; more only if the way is larger.
        classes: as for `EpisodeSampler`.
        episodes: likewise.
        name: likewise.

    Attributes:
        way: the largest way, which logits have.

    Raises:
        ValueError: too few classes have two rows, or an argument is out of range.

    Reference: Triantafillou, Zhu, Dumoulin, Lamblin, Evci, Xu, Goroshin, Gelada, Swersky, Manzagol, Larochelle,
    "Meta-Dataset: a dataset of datasets for learning to learn from few examples", ICLR 2020, arXiv:1903.03096.

    >>> sampler = VariableSampler([n for n in range(8) for _ in range(30)], most_way=6)
    >>> drawn = sampler.draw(0, 100)
    >>> sorted(set((drawn.classes >= 0).sum(1).tolist()))
    [5, 6]
    """

    kind = "variable"
    alike = False
    own_task = True
    _block_size = 128  # one episode may hold thousands of rows

    def __init__(
        self,
        labels: Any,
        query: int = 10,
        seed: int = 0,
        *,
        least_way: int = 5,
        most_way: int = 50,
        most_support: int = 500,
        classes: Sequence[int] | None = None,
        episodes: int | None = None,
        name: str = "the dataset",
    ) -> None:
        self.query, self.seed = whole("query", query, 1), whole_seed(seed)
        self.least_way = whole("least_way", least_way, 1)
        most_way, most_support = whole("most_way", most_way, self.least_way), whole("most_support", most_support, 1)
        self.episodes, self.name = None if episodes is None else whole("episodes", episodes, 0), name
        self._pool = Pool(
            labels, 2, self.least_way, classes=classes, name=name, words=("least_way", "support + query"),
            remedy="lower least_way",
        )  # fmt: skip
        self.rows, self.classes = self._pool.length, self._pool.classes
        self.way = min(most_way, len(self.classes))
        self.most_support = max(most_support, self.way)

    @classmethod
    def of(cls, source: Any, way: int, shot: int, query: int, seed: int, **arguments: Any) -> VariableSampler:
        """A sampler over a source; way and shot are its own."""
        return cls(source.labels, query, seed, name=source.name, **arguments)

    def _block(self, first: int, count: int) -> Draw:
        way = self.way
        spread = way - self.least_way + 1
        ways = self.least_way + (uniforms(self.seed, Stream.WAY, first, count, 1)[:, 0] * spread).astype(
            np.int64
        )  # [E]
        present = np.arange(way) < ways[:, None]  # [E, N]
        chosen = distinct(uniforms(self.seed, Stream.VARIABLE_CLASSES, first, count, way).T, len(self.classes)).T
        sizes = self._pool.sizes[chosen].astype(np.int64)
        queries = np.where(present, sizes // 2, np.iinfo(np.int64).max).min(1, initial=2 * self.query)
        queries = np.minimum(queries, self.query)  # [E]
        shots = np.where(present, self._shots(first, count, sizes, sizes - queries[:, None], present), 0)

        deepest = int((shots + queries[:, None]).max(initial=1))
        numbers = uniforms(self.seed, Stream.VARIABLE_ROWS, first, count, way * self._deepest)
        numbers = numbers.reshape(count, way, self._deepest)[..., :deepest].transpose(2, 0, 1)
        items = distinct(np.ascontiguousarray(numbers).reshape(deepest, -1), sizes.reshape(-1).astype(np.int32))
        items = np.clip(items.reshape(deepest, count, way), 0, sizes - 1)  # beyond a class's rows: never used
        rows = self._pool.rows(items, chosen).transpose(1, 2, 0)  # [E, N, deepest]
        place = np.arange(deepest)
        is_query = present[..., None] & (place < queries[:, None, None])
        is_support = (place >= queries[:, None, None]) & (place < (queries[:, None] + shots)[..., None])
        support, labels = _padded(rows, is_support, max(self.most_support, way))
        query, targets = _padded(rows, is_query, way * self.query)
        classes = np.where(present, self.classes[chosen], PADDING)
        tensors = [torch.from_numpy(array) for array in (support, labels, query, targets, classes)]
        return Draw(*tensors, torch.arange(first, first + count))  # type: ignore[call-arg]

    @property
    def _deepest(self) -> int:
        return int(min(self._pool.sizes.max(), self.most_support + self.query))

    def _shots(
        self,
        first: int,
        count: int,
        sizes: NDArray[np.int64],
        rows_left: NDArray[np.int64],
        present: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        beta = 1 - uniforms(self.seed, Stream.SUPPORT_SIZE, first, count, 1)  # [E, 1], in (0, 1]
        wanted = np.ceil(beta * np.minimum(_MOST_OF_A_CLASS, rows_left)) * present
        total = np.minimum(self.most_support, wanted.sum(1, keepdims=True))  # [E, 1]
        tilt = np.log(0.5) + uniforms(self.seed, Stream.SHARES, first, count, self.way) * np.log(4)
        shares = np.exp(tilt) * sizes * present
        shares = shares / shares.sum(1, keepdims=True)
        spare = np.maximum(total - present.sum(1, keepdims=True), 0)
        return np.minimum(np.floor(shares * spare).astype(np.int64) + 1, rows_left)

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the rows themselves, as JSON values."""
        return {
            "sampler": self.kind, "least_way": self.least_way, "most_way": self.way, "most_support": self.most_support,
            "query": self.query, "seed": self.seed, "classes": digest_array(self.classes),
            "from_classes": self._pool.share, "labels": self._pool.digest,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"VariableSampler(query={self.query}, seed={self.seed}, least_way={self.least_way}, most_way={self.way})"


def _padded(
    rows: NDArray[np.int64], taken: NDArray[np.bool_], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that are taken, first, and their ways ``[E, width]``; then repetitions, as padding."""
    count = len(rows)
    depth = taken.shape[1] * taken.shape[2]
    flat, chosen = rows.reshape(count, depth), taken.reshape(count, depth)
    order, number = np.argsort(~chosen, axis=1, kind="stable"), chosen.sum(1, keepdims=True)
    place = np.arange(width)
    index = np.take_along_axis(order, place % np.maximum(number, 1), 1)
    real = place < number
    ways = np.where(real, index // taken.shape[2], PADDING)
    return np.take_along_axis(flat, index, 1), ways

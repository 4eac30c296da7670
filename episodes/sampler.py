"""`EpisodeSampler`: episodes as row indices, a function of (seed, episode number) and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from episodes.counter import distinct, uniforms
from episodes.episode import Episode

_BLOCK = 1024  # episodes shuffled at a time: their working set stays in the processor's cache
OPEN = -2  # target of a query that is of none of the episode's classes
_CLASSES, _QUERY, _SHOT = 0, 1, 2  # streams of random numbers; shot j has stream _SHOT + j


@dataclass(frozen=True)
class Draw:
    """Episodes as indices into the rows of a dataset.

    Attributes:
        support: row indices ``[E, S]``, ordered by class.
        labels: class of each support row within its episode ``[E, S]``; ``-1`` is padding.
        query: row indices ``[E, Q]``.
        targets: the answer key ``[E, Q]``; ``-1`` is not marked, ``-2`` is of none of the episode's classes.
        classes: dataset class of each way ``[E, N]``; ``-1`` where an episode has fewer.
        ids: episode numbers ``[E]``.
        unlabelled: row indices ``[E, U]`` of unknown class, for semi-supervised learners, or None.
    """

    support: Tensor
    labels: Tensor
    query: Tensor
    targets: Tensor
    classes: Tensor
    ids: Tensor
    unlabelled: Tensor | None = None

    @property
    def rows(self) -> Tensor:
        """Support, query and unlabelled indices side by side ``[E, S + Q + U]``."""
        more = () if self.unlabelled is None else (self.unlabelled,)
        return torch.cat([self.support, self.query, *more], dim=1)

    def __len__(self) -> int:
        """Number of episodes E."""
        return len(self.ids)


class EpisodeSampler:
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

    Use it alone, through `evaluate`, or as ``DataLoader(dataset, batch_sampler=sampler,
    collate_fn=sampler.collate)``: then each batch is one episode's (Episode, targets). A second pass over a
    finite sampler repeats the same exam; for training leave `episodes` out.

    >>> sampler = EpisodeSampler([0, 0, 0, 1, 1, 1, 2, 2, 2], way=2, shot=1, query=2, seed=0)
    >>> drawn = sampler.draw(first=0, count=1000)
    >>> drawn.support.shape, drawn.query.shape, drawn.classes.shape
    (torch.Size([1000, 2]), torch.Size([1000, 4]), torch.Size([1000, 2]))
    """

    kind = "fixed"
    _fewest_queries = 1

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
        array = _as_labels(labels)
        for what, value, least in (("way", way, 1), ("shot", shot, 0), ("query", query, self._fewest_queries)):
            if isinstance(value, bool) or int(value) != value or value < least:
                raise ValueError(f"{what}={value!r}; it must be an integer of at least {least}.")
        if int(seed) != seed or not 0 <= seed < 2**64:
            raise ValueError(f"seed={seed!r}; it must be an integer from 0 to 2**64 - 1.")
        self.way, self.shot, self.query, self.seed = int(way), int(shot), int(query), int(seed)
        self.episodes, self.name, self.rows = episodes, name, len(array)

        sizes = np.bincount(array) if array.size else np.zeros(0, np.int64)
        allowed = np.flatnonzero(sizes) if classes is None else _as_classes(classes, len(sizes), name)
        need = self.shot + self.query
        enough = sizes[allowed] >= need
        self.classes: NDArray[np.int64] = allowed[enough].astype(np.int64)  # eligible dataset classes
        if len(self.classes) < self.way:
            lacking = ", ".join(f"class {c} has {sizes[c]}" for c in allowed[~enough][:5])
            more = f" ({lacking}{', ...' if (~enough).sum() > 5 else ''})" if lacking else ""
            raise ValueError(
                f"way={self.way}, but {name!r} has {len(self.classes)} classes with at least "
                f"shot + query = {need} rows{more}; lower way, shot or query."
            )
        self._order = np.argsort(array, kind="stable").astype(np.int64)  # rows grouped by class
        self._starts_of_all = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)  # [C]
        self._starts = self._starts_of_all[self.classes]  # [eligible classes]
        self._sizes = sizes[self.classes].astype(np.int32)
        self._equal = int(self._sizes[0]) if (self._sizes == self._sizes[0]).all() else None

    def draw(self, first: int = 0, count: int = 1) -> Draw:
        """Episodes ``first, ..., first + count - 1``."""
        if first < 0 or count < 0:
            raise ValueError(f"first={first}, count={count}; both must be at least 0.")
        way, shot, query = self.way, self.shot, self.query
        support = np.empty((count, way, shot), np.int64)
        queries = np.empty((count, way, query), np.int64)
        classes = np.empty((count, way), np.int64)
        for start in range(0, count, _BLOCK):
            block = slice(start, min(start + _BLOCK, count))
            self._fill(first + start, support[block], queries[block], classes[block])
        one = np.arange(way, dtype=np.int64)
        labels = torch.from_numpy(np.repeat(one, shot)).expand(count, way * shot)
        targets = torch.from_numpy(np.repeat(one, query)).expand(count, way * query)
        ids = torch.arange(first, first + count)
        rows, asked = torch.from_numpy(support).flatten(1), torch.from_numpy(queries).flatten(1)
        return Draw(rows, labels, asked, targets, torch.from_numpy(classes), ids)

    def _fill(
        self, first: int, support: NDArray[np.int64], query: NDArray[np.int64], classes: NDArray[np.int64]
    ) -> None:
        """Write one block of episodes into the arrays given."""
        count, way = classes.shape
        chosen = self._choose(first, count)  # [E, N]
        classes[:] = self.classes[chosen]
        numbers = np.empty((self.query + self.shot, count, way))  # queries first: they outlive a change of shot
        asked = uniforms(self.seed, _QUERY, first, count, way * self.query).reshape(count, way, self.query)
        numbers[: self.query] = asked.transpose(2, 0, 1)
        for shot in range(self.shot):
            numbers[self.query + shot] = uniforms(self.seed, _SHOT + shot, first, count, way)
        sizes = self._equal if self._equal is not None else self._sizes[chosen].reshape(-1)
        items = distinct(numbers.reshape(len(numbers), -1), sizes).reshape(numbers.shape)
        rows = np.take(self._order, items + self._starts[chosen])  # [query + shot, E, N]
        query[:] = rows[: self.query].transpose(1, 2, 0)
        support[:] = rows[self.query :].transpose(1, 2, 0)

    def _choose(self, first: int, count: int) -> NDArray[np.int32]:
        """The classes of each episode, as positions in `classes` ``[E, N]``."""
        return distinct(uniforms(self.seed, _CLASSES, first, count, self.way).T, len(self.classes)).T

    def __iter__(self) -> Iterator[list[int]]:
        """Row indices of one episode after the other, support before query."""
        total = self.episodes
        first = 0
        while total is None or first < total:
            count = 256 if total is None else min(256, total - first)
            yield from self.draw(first, count).rows.tolist()
            first += count

    def __len__(self) -> int:
        """Number of episodes that iteration yields."""
        if self.episodes is None:
            raise TypeError("this EpisodeSampler is endless; give episodes=... to limit it.")
        return self.episodes

    def collate(self, items: Sequence[Any]) -> tuple[Episode, Tensor]:
        """Turn one batch of ``(item, label)`` pairs, as a `DataLoader` reads them, into (Episode, targets)."""
        first = items[0]
        rows = [item[0] for item in items] if isinstance(first, (tuple, list)) else list(items)
        stacked = torch.stack([torch.as_tensor(row) for row in rows]).unsqueeze(0)  # [1, S + Q, *x]
        cut = self.way * self.shot
        one = torch.arange(self.way)
        labels = one.repeat_interleave(self.shot).unsqueeze(0)
        targets = one.repeat_interleave(self.query).unsqueeze(0)
        return Episode(stacked[:, :cut], labels, stacked[:, cut:], self.way), targets

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the dataset, as JSON values."""
        return {"sampler": self.kind, "way": self.way, "shot": self.shot, "query": self.query,
                "seed": self.seed, "classes": _digest(self.classes)}  # fmt: skip

    def __repr__(self) -> str:
        return f"{type(self).__name__}(way={self.way}, shot={self.shot}, query={self.query}, seed={self.seed})"


def _as_labels(labels: ArrayLike | Tensor) -> NDArray[np.int64]:
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(
            f"labels are {array.dtype} of shape {list(array.shape)}; they must be integers [M]. "
            "TensorSource(features, labels).labels numbers any labels from 0."
        )
    if array.size and array.min() < 0:
        raise ValueError(f"labels contain {array.min()}; classes are numbered from 0.")
    return array.astype(np.int64, copy=False)


def _as_classes(classes: Sequence[int], total: int, name: str) -> NDArray[np.int64]:
    array = np.unique(np.asarray(classes, dtype=np.int64))
    if array.size and not (array[0] >= 0 and array[-1] < total):
        raise ValueError(f"classes contain {array[-1]}, but {name!r} has classes 0..{total - 1}.")
    return array


def _digest(array: NDArray[np.int64]) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(array, "<i8").tobytes()).hexdigest()[:16]

"""`Sampler`: what all samplers share. An episode is a function of the arguments and its number, nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from torch import Tensor

from episodes.draw import PADDING, Draw
from episodes.episode import Episode
from episodes.samplers.loading import RowIndex, Rows, collated
from episodes.samplers.task_label import task_label


class Sampler(ABC):
    """Draws numbered episodes as row indices.

    A subclass is one file: `_block` draws, `recipe` is what it depends on. Episode e must be the same drawn alone or
    in a batch of any size, in any process.

    Class attributes:
        kind: its name, in recipes and on the command line.
        own_task: True if it draws way and shot itself, so that they cannot be given.
        alike: True if all episodes have the same labels and targets, so that only rows and classes differ.

    Attributes:
        way: classes per episode N; the largest number where it varies.
        rows: number of rows of the dataset M.
        name: what messages call the dataset.
        available: how many episodes there are; None where there is no end.
        episodes: how many iteration yields; None where there is no end.
    """

    kind: ClassVar[str] = ""
    alike: bool = True
    own_task: ClassVar[bool] = False
    way: int
    rows: int
    name: str = "the dataset"
    available: int | None = None
    episodes: int | None = None
    _block_size: ClassVar[int] = 1024  # episodes drawn at a time: their working set stays in the processor's cache

    @classmethod
    def of(cls, source: Any, way: int, shot: int, query: int, seed: int, **arguments: Any) -> Sampler:
        """A sampler over a source, as the command line makes it; what a sampler draws itself is not handed on."""
        made: Any = cls
        sampler: Sampler = made(source.labels, way, shot, query, seed, name=source.name, **arguments)
        return sampler

    @abstractmethod
    def _block(self, first: int, count: int) -> Draw:
        """Some episodes, all at once."""

    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the rows themselves, as JSON values."""

    def draw(self, first: int = 0, count: int = 1) -> Draw:
        """Episodes ``first, ..., first + count - 1``.

        Raises:
            ValueError: there are not so many.
        """
        if first < 0 or count < 0:
            raise ValueError(f"first={first}, count={count}; both must be at least 0.")
        if self.available is not None and first + count > self.available:
            raise ValueError(self._too_many(f"first={first}, count={count}"))
        size = self._block_size
        starts = range(first, first + max(count, 1), size)
        return Draw.joined([self._block(start, min(size, first + count - start)) for start in starts])

    @property
    def task_label(self) -> str:
        """The task in words: ``5-way 1-shot``."""
        return task_label(self.recipe())

    def _too_many(self, given: str) -> str:
        return f"{given}, but there are {self.available:,} episodes."

    def __iter__(self) -> Iterator[list[RowIndex]]:
        """Row indices of one episode after the other, support before query; padding is left out."""
        first = 0
        while self.episodes is None or first < self.episodes:
            count = 256 if self.episodes is None else min(256, self.episodes - first)
            drawn = self.draw(first, count)
            padded = bool((drawn.labels == PADDING).any() or (drawn.targets == PADDING).any())
            listed = [] if padded else drawn.rows.tolist()
            for place in range(count):
                rows = drawn.alone(place).rows[0].tolist() if padded else listed[place]
                yield [RowIndex(row, first + place) for row in rows]
            first += count

    def __len__(self) -> int:
        """Number of episodes that iteration yields."""
        if self.episodes is None:
            raise TypeError(f"this {type(self).__name__} is endless; give episodes=... to limit it.")
        return self.episodes

    def dataset(self, items: Any) -> Rows:
        """A dataset whose items carry the number of their episode, which `collate` reads."""
        return Rows(items)

    def collate(self, items: Sequence[Any]) -> tuple[Episode, Tensor]:
        """Turn the items of one episode, as a `DataLoader` reads them, into (Episode, targets).

        Use ``DataLoader(sampler.dataset(items), batch_sampler=sampler, collate_fn=sampler.collate)``; items are rows,
        or ``(row, label)`` pairs. Where all episodes are alike, a dataset that does not remember them will do, and the
        episode has no number.

        Raises:
            ValueError: the items are not those of the episode, or do not name theirs where that matters.
        """
        return collated(self, items)

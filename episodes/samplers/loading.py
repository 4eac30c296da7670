"""From a `DataLoader` to an episode: batches are read in other processes, in any order, so items carry its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from episodes.episode import Episode
from episodes.source import as_float

if TYPE_CHECKING:
    from episodes.samplers.sampler import Sampler


class RowIndex(int):
    """An index into a dataset that knows the number of the episode it is of; to the dataset it is an integer."""

    episode: int

    def __new__(cls, row: int, episode: int) -> RowIndex:
        """The row of an episode."""
        index = super().__new__(cls, row)
        index.episode = episode
        return index

    def __reduce__(self) -> tuple[type[RowIndex], tuple[int, int]]:
        """How it is copied, to another process too."""
        return RowIndex, (int(self), self.episode)


@dataclass(frozen=True)
class Row:
    """An item of a dataset, and the index it was read by."""

    index: RowIndex
    item: Any


class Rows:
    """A dataset whose items carry the indices they were read by.

    Args:
        items: any dataset with items by index.
    """

    def __init__(self, items: Any) -> None:
        self.items = items

    def __getitem__(self, index: RowIndex) -> Row:
        """One item."""
        return Row(index, self.items[int(index)])

    def __getitems__(self, indices: Sequence[RowIndex]) -> list[Row]:
        """Several, all at once where the dataset can."""
        together = getattr(self.items, "__getitems__", None)
        found = together([int(i) for i in indices]) if together else [self.items[int(i)] for i in indices]
        return [Row(index, item) for index, item in zip(indices, found, strict=True)]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)


def collated(sampler: Sampler, items: Sequence[Any]) -> tuple[Episode, Tensor]:
    """The (Episode, targets) of items read for a sampler; see `Sampler.collate`."""
    if not len(items):
        raise ValueError("there are no items to collate; batch_sampler=sampler gives the rows of one episode.")
    if all(isinstance(item, Row) for item in items):
        numbers = {getattr(item.index, "episode", None) for item in items}
        number = numbers.pop()
        if numbers or number is None:
            raise ValueError("the items are not those of one episode; give the DataLoader batch_sampler=sampler.")
        drawn = sampler.draw(number, 1).alone()
        if [int(item.index) for item in items] != drawn.rows[0].tolist():
            raise ValueError(
                f"the items are not those of episode {number} of {sampler!r}; collate with the sampler that drew them."
            )
        rows = _stacked([item.item for item in items])
        return drawn.episode(rows)
    if not sampler.alike:
        raise ValueError(
            f"episodes of {sampler!r} differ in labels and targets, and items do not say of which episode they are; "
            "read DataLoader(sampler.dataset(items), batch_sampler=sampler, collate_fn=sampler.collate)."
        )
    drawn = sampler.draw(0, 1).alone()
    if len(items) != drawn.rows.shape[1]:
        raise ValueError(
            f"{len(items)} items, but an episode of {sampler!r} has {drawn.rows.shape[1]}; give the DataLoader "
            "batch_sampler=sampler."
        )
    episode, targets = drawn.episode(_stacked(items))
    return episode.replace(ids=None), targets  # which one it is is not known


def _stacked(items: Sequence[Any]) -> Tensor:
    """Rows of items, which may be (row, label) pairs, as one batch ``[1, R, *x]``."""
    rows = [item[0] if isinstance(item, (tuple, list)) else item for item in items]
    try:
        tensors = [torch.as_tensor(row) for row in rows]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"items are {type(rows[0]).__name__}, of which no tensor can be made ({error}); give the dataset a "
            "transform that makes tensors, such as torchvision.transforms.ToTensor()."
        ) from None
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise ValueError(
            f"items have the shapes {sorted(shapes)[:3]}; an episode needs rows of one shape: resize or crop them."
        )
    return as_float(torch.stack(tensors)).unsqueeze(0)

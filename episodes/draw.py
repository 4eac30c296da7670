"""`Draw`: episodes as row indices, and the one place where they become an `Episode` and its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from episodes.episode import Episode
from episodes.source import Source

PADDING = -1  # label or target of a row that fills up a tensor, and class of a way that an episode lacks
OPEN = -2  # target of a query that is of none of the episode's classes


@dataclass(frozen=True)
class Draw:
    """Episodes as indices into the rows of a dataset.

    Attributes:
        support: row indices ``[E, S]``, ordered by class.
        labels: class of each support row within its episode ``[E, S]``; ``-1`` is padding.
        query: row indices ``[E, Q]``.
        targets: the query labels, class of each query within its episode ``[E, Q]``; ``-1`` is padding, ``-2`` is of
            none of the episode's classes.
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

    def episode(self, source: Source | Tensor, text: Tensor | None = None) -> tuple[Episode, Tensor]:
        """The episodes and their targets ``[E, Q]``, on the device of the rows.

        Args:
            source: the dataset; or its rows for the indices of `rows` ``[E, S + Q + U, *x]``, where they have been
                read already.
            text: one vector per dataset class ``[C, D]``, or one per template ``[C, T, D]``.

        Raises:
            ValueError: some queries are padding, which no learner may see: take `groups`, or `alone`.
        """
        if self.targets.device.type == "cpu" and _padded(self.targets):
            raise ValueError(
                "some of these episodes have fewer queries than others, and a learner would see the padding; make an "
                "episode of each of draw.groups(), or of draw.alone(e)."
            )
        rows = source if isinstance(source, Tensor) else source[self.rows]
        drawn = self.to(rows.device)
        cut = drawn.support.shape[1]
        end = cut + drawn.query.shape[1]
        more = 0 if drawn.unlabelled is None else drawn.unlabelled.shape[1]
        if rows.shape[:2] != (len(self), end + more):
            due = [len(self), end + more]
            raise ValueError(f"rows are {list(rows.shape)}; they must be [E, S + Q + U, *x], beginning with {due}.")
        episode = Episode(
            rows[:, :cut], drawn.labels, rows[:, cut:end], drawn.classes.shape[1],
            None if text is None else _text_of(text.to(rows.device), drawn.classes), drawn.ids,
            None if drawn.unlabelled is None else rows[:, end:],
        )  # fmt: skip
        return episode, drawn.targets

    def groups(self) -> list[tuple[Tensor, Draw]]:
        """The same episodes without padding among their queries: those of equally many queries together.

        Returns:
            For each number of queries, the places of its episodes in this draw ``[e]``, ascending, and these episodes.
            Where no query is padding, that is the draw itself.
        """
        if not _padded(self.targets):
            return [(torch.arange(len(self)), self)]
        real_queries = self.targets != PADDING  # [E, Q]
        found, numbers = [], real_queries.sum(1)
        for number in numbers.unique().tolist():
            places = (numbers == number).nonzero().squeeze(1)
            part, real = self[places], real_queries[places]
            shape = (len(places), number)
            query, targets = part.query[real].view(shape), part.targets[real].view(shape)
            found.append((places, replace(part, query=query, targets=targets)))
        return found

    def alone(self, place: int = 0) -> Draw:
        """One of the episodes, with neither support rows nor queries that are padding."""
        one = self[place : place + 1]
        support, queries = one.labels[0] != PADDING, one.targets[0] != PADDING
        return replace(
            one, support=one.support[:, support], labels=one.labels[:, support],
            query=one.query[:, queries], targets=one.targets[:, queries],
        )  # fmt: skip

    def to(self, device: torch.device | str) -> Draw:
        """The same indices on another device; to an accelerator without waiting for it."""
        device = torch.device(device)
        if self.ids.device == device or (device.index is None and self.ids.device.type == device.type):
            return self
        return self._map(lambda tensor: _moved(tensor, device))

    def __getitem__(self, places: slice | Tensor) -> Draw:
        """Some of the episodes."""
        return self._map(lambda tensor: tensor[places])

    def __len__(self) -> int:
        """Number of episodes E."""
        return len(self.ids)

    @staticmethod
    def joined(parts: Sequence[Draw]) -> Draw:
        """The episodes of several draws, one after the other."""
        if len(parts) == 1:
            return parts[0]
        columns: dict[str, Any] = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Draw)}
        joined: dict[str, Any] = {name: None if held[0] is None else _joined(held) for name, held in columns.items()}
        return Draw(**joined)

    def _map(self, change: Any) -> Draw:
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {name: None if value is None else change(value) for name, value in values.items()}
        return Draw(**changed)


def _padded(targets: Tensor) -> bool:
    one = targets[:1] if targets.stride(0) == 0 else targets  # all episodes alike
    return bool((one == PADDING).any())


def _joined(tensors: list[Tensor]) -> Tensor:
    first = tensors[0][:1]
    if all((t.stride(0) == 0 or len(t) == 1) and torch.equal(t[:1], first) for t in tensors):
        return first.expand(sum(map(len, tensors)), *first.shape[1:])  # all episodes alike: one row in memory is enough
    return torch.cat(tensors)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _text_of(text: Tensor, classes: Tensor) -> Tensor:
    """Text of each way; zeros, which learners take for absence, where an episode has fewer ways."""
    if classes.device.type == "cpu" and classes.numel() and int(classes.max()) >= len(text):
        raise ValueError(
            f"text has {len(text)} rows, but class {int(classes.max())} is in an episode; give one vector per dataset "
            "class, [C, D]."
        )
    rows = text[classes.clamp(min=0)]
    return rows.masked_fill((classes < 0).view(*classes.shape, *[1] * (text.ndim - 1)), 0.0)

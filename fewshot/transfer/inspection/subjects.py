"""What is inspected: which rows of a dataset, their names and classes, and the head that answers for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from episodes.source import StoredSource
from fewshot.transfer.heads import linear
from fewshot.transfer.labelled_rows import checked_classes
from fewshot.transfer.tuned_encoder import TunedEncoder


def drawn_rows(labels: Tensor, limit: int, seed: int, names: Sequence[str]) -> Tensor:
    """At most so many rows, in order, with the proportions of the classes and at least two of each.

    Raises:
        ValueError: a class has fewer than two rows, or the limit is lower than two of each.
    """
    counts = torch.bincount(labels, minlength=len(names))
    if counts.min() < 2:
        rare = names[int(counts.argmin())]
        raise ValueError(f"class {rare!r} has {int(counts.min())} row; left-out accuracy needs two rows of each class.")
    if limit < 2 * len(names):
        raise ValueError(f"rows={limit} for {len(names)} classes; at least two of each are needed: {2 * len(names)}.")
    if len(labels) <= limit:
        return torch.arange(len(labels))
    random = np.random.Generator(np.random.Philox(key=[seed, 1]))
    order = torch.from_numpy(random.permutation(len(labels)))
    order = order[labels[order].argsort(stable=True)]  # class by class
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
    rank = torch.where(place < 2, -1.0, place / counts[labels[order]])  # two of each first, then in proportion
    return order[rank.argsort(stable=True)[:limit]].sort().values


def selected(items: StoredSource, rows: Tensor) -> StoredSource:
    """These rows of a dataset."""
    if len(rows) == len(items):
        return items
    chosen: Any = items.select(rows)
    return chosen


def numbers_of(items: StoredSource, names: Sequence[str]) -> Tensor:
    """Labels as numbers of these classes ``[M]``.

    Raises:
        ValueError: the classes are not the same.
    """
    own, _ = checked_classes(items)
    if sorted(items.class_names) != sorted(names):
        raise ValueError(
            f"train= has classes {items.class_names[:5]}, but the rows inspected {list(names)[:5]}; give the same."
        )
    number = torch.tensor([list(names).index(name) for name in items.class_names])
    return number[own]


def head_for(tuned: TunedEncoder, names: Sequence[str]) -> nn.Linear:
    """The tuned head's rows for these classes, in this order.

    Raises:
        ValueError: it was not trained on one of them.
    """
    stray = [name for name in names if name not in tuned.class_names]
    if stray:
        raise ValueError(f"{tuned.name!r} does not know class {stray[0]!r}; it was tuned on {tuned.class_names[:5]}.")
    chosen = [tuned.class_names.index(name) for name in names]
    head = tuned.head
    part = linear(head.weight[chosen].detach().float().cpu(), head.bias[chosen].detach().float().cpu())
    part.unit = head.unit
    return part


def caption(items: StoredSource, row: int) -> str:
    """A row's name on a page that others may see: of a file, its folder and name, not where it lies on this machine."""
    held = getattr(items, "items", None)
    if held is not None and isinstance(held[row], (str, os.PathLike)):
        return "/".join(Path(held[row]).parts[-2:])
    return items.describe(row)

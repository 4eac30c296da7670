"""Some classes of a source, as a source of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

from episodes.registry import unknown
from episodes.source import Source

AnySource = TypeVar("AnySource", bound=Source)


def select_classes(source: AnySource, classes: Sequence[str], name: str | None = None) -> AnySource:
    """The rows of some classes, which are renumbered in the order given.

    Args:
        source: any source with a `select` method.
        classes: names of classes, such as ``load_split("cub")["test"]``.
        name: what messages and results call the part; by default as the whole.

    Raises:
        ValueError: a class that the source does not have, or one named twice.

    >>> from episodes import load_dataset
    >>> part = select_classes(load_dataset("digits"), ["7", "3"])
    >>> part.class_names, sorted(set(part.labels.tolist()))
    (['7', '3'], [0, 1])
    """
    classes = [str(entry) for entry in classes]
    number = {entry: place for place, entry in enumerate(source.class_names)}
    for entry in classes:
        if entry not in number:
            raise ValueError(unknown(f"class of {source.name!r}", entry, source.class_names))
    if len(set(classes)) < len(classes):
        twice = next(entry for entry in classes if classes.count(entry) > 1)
        raise ValueError(f"class {twice!r} is selected twice; name each class once.")
    renumbered = torch.full((len(number),), -1)
    renumbered[[number[entry] for entry in classes]] = torch.arange(len(classes))
    labels = renumbered[source.labels]
    part = source.select(labels >= 0, name)  # type: ignore[attr-defined]
    part.labels, part.class_names = labels[labels >= 0], classes
    return part

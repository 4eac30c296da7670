"""Target rows as training may see them: the rows, and no label."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from episodes.any_source import as_source
from episodes.device import processors
from episodes.identity import digest
from episodes.source import StoredSource, TensorSource, tower_of
from fewshot.encoders.encoder import Encoder


@dataclass(frozen=True)
class TargetRows:
    """Unlabelled rows of the domain that an encoder is to serve.

    Attributes:
        items: the rows, all of one class "unlabelled".
    """

    items: StoredSource

    def __len__(self) -> int:
        return len(self.items)


class Unlabelled:
    """A source without its labels, which are never asked for: all rows are of one class "unlabelled".

    Args:
        source: any source.
    """

    def __init__(self, source: StoredSource) -> None:
        self._source = source
        self.name, self.kind = source.name, source.kind
        self.labels, self.class_names = torch.zeros(len(source), dtype=torch.int64), ["unlabelled"]
        if hasattr(source, "texts"):
            self.texts = source.texts

    def __len__(self) -> int:
        """Number of rows M."""
        return len(self._source)

    def __getitem__(self, index: Any) -> Tensor:
        """Rows for an index array of any shape."""
        return self._source[index]

    def fingerprint(self) -> str:
        """A digest of the rows alone."""
        from fewshot.embedding.plan import Plan

        return digest(Plan(self, 0, None, 0, processors()).keys)

    def read(self, row: int) -> bytes | Tensor:
        """A row as stored."""
        return self._source.read(row)

    def describe(self, row: int) -> str:
        """A row as messages name it."""
        return self._source.describe(row)

    def select(self, rows: Any, name: str | None = None) -> Unlabelled:
        """Some of the rows."""
        return Unlabelled(self._source.select(rows, name))  # type: ignore[arg-type]


def without_labels(dataset: Any, encoder: Encoder) -> StoredSource:
    """Rows of any dataset that `fewshot.embed` takes; its labels are not read, and pictures in a folder need none."""
    from episodes.datasets.unlabelled import load_unlabelled

    data = load_unlabelled(dataset) if isinstance(dataset, (str, os.PathLike)) else dataset
    if hasattr(data, "class_names") and hasattr(data, "read"):
        items = as_source(data, encoder)
    else:
        nothing = torch.zeros(len(data), dtype=torch.int64)
        items = as_source(data, encoder, nothing, ["unlabelled"], what="target")
    if isinstance(items, TensorSource):
        nothing = torch.zeros(len(items), dtype=torch.int64)
        return TensorSource(items.features, nothing, ["unlabelled"], name=items.name, kind=items.kind)
    return Unlabelled(items)


def read_target(dataset: Any, encoder: Encoder, source: StoredSource) -> TargetRows:
    """Target rows for an encoder that is trained on `source`.

    Raises:
        ValueError: too few rows, or rows of another kind than the source's.
    """
    items = without_labels(dataset, encoder)
    if len(items) < 2:
        raise ValueError(f"target {items.name!r} has {len(items)} rows; two domains cannot be aligned by fewer than 2.")
    if tower_of(items) != tower_of(source):
        raise ValueError(
            f"source {source.name!r} holds {tower_of(source)}, but target {items.name!r} {tower_of(items)}; "
            "one encoder must take both."
        )
    return TargetRows(items)

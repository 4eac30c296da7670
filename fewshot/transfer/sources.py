"""Labelled rows of any kind as a source of which rows can be selected."""

from __future__ import annotations

from typing import Any

from fewshot.encoders.encoder import Encoder


def labelled_source(dataset: Any, encoder: Encoder, labels: Any = None, class_names: Any = None) -> Any:
    """A `Source` with ``select``.

    Args:
        dataset: as for `fewshot.embed`.
        encoder: whose towers decide what strings may be.
        labels: of a plain list or array ``[M]``.
        class_names: names for these.

    Raises:
        ValueError: rows have no labels, or the encoder does not take such rows.
    """
    from episodes.any_source import as_source

    return as_source(dataset, encoder, labels, class_names)

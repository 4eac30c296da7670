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
    from fewshot.embedding.any_dataset import as_items

    items = as_items(dataset, encoder, labels, class_names)
    source = getattr(items, "source", None)
    if source is None:
        raise ValueError(
            f"{items.name!r} gives one item at a time; give files, arrays, texts or a Source (ImageSource, "
            "TensorSource, TextSource), of which rows can be selected."
        )
    return source

"""What users call X, as rows of numbers: checks that say what was given, before anything is computed."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor

from episodes.any_source import as_source
from episodes.audio_source import AudioSource
from episodes.image_source import ImageSource
from episodes.inputs import is_pil, is_table, rows_of
from episodes.pixels import channels_at
from episodes.precision import is_sparse, refuse_unusual
from episodes.source import StoredSource, as_float, tower_of
from fewshot.learner import Learner

_LOG = logging.getLogger("fewshot")
FEW = 4  # items: to look them up, and to write them down, would take longer than to compute them
_warned: WeakSet[Any] = WeakSet()  # encoders that were said to be asked about what they do not know
_OUTSIDE = 0.05  # of the pictures: one in a hundred that an encoder does know is taken for a stranger


def check_array(X: Any, learner: Learner) -> Any:
    """X for a learner without an encoder: features ``[n, D]``, or images ``[n, C, H, W]`` if it takes those.

    scikit-learn's own checks follow; these are for what it would report in other words.

    Raises:
        ValueError: X holds files or images that need an encoder, or has the wrong number of dimensions.
    """
    if is_table(X) and not hasattr(X, "columns"):
        X = list(X)  # a column
    if isinstance(X, Sequence) and len(X) and all(isinstance(row, Tensor) for row in X):
        shapes = sorted({tuple(row.shape) for row in X})
        if len(shapes) > 1:
            raise ValueError(f"X holds tensors of several shapes, {shapes[:3]}; give rows of one shape.")
        X = torch.stack(list(X))
    if isinstance(X, Tensor) or is_sparse(X):
        refuse_unusual(X, "X")
    if isinstance(X, Tensor):
        X = X.detach().cpu()
        X = (X if X.dtype == torch.float64 else as_float(X)).numpy()
    first = X[0] if isinstance(X, Sequence) and len(X) else None
    if isinstance(first, str | os.PathLike) or is_pil(X) or is_pil(first):
        raise ValueError(
            f"X holds {type(X if is_pil(X) else first).__name__} items, but encoder=None takes features [n, D] only; "
            "name an encoder, such as FewShotClassifier(encoder='timm:mobilenetv2_100')."
        )
    shape = np.shape(X) if isinstance(X, np.ndarray) else ()
    if learner.inputs == "images":
        if len(shape) != 4:
            raise ValueError(f"X is {list(shape)}, but {learner!r} takes images, an array [n, C, H, W].")
        X = np.moveaxis(X, 3, 1)[:, :3] if channels_at(shape[1:], is_tensor=True) == 2 else X
        return X.astype(np.float32) / 255 if X.dtype == np.uint8 else X
    if len(shape) > 2:
        raise ValueError(
            f"X is {list(shape)}, but {learner!r} takes features [n, D]; "
            "name an encoder for images, or flatten them with X.reshape(len(X), -1)."
        )
    return X


def as_items(X: Any, encoder: Any, seen: str | None = None) -> StoredSource:
    """X for an encoder: items of the kind that was fitted.

    Args:
        X: files, images or texts, as `fewshot.embed` takes them.
        encoder: whose towers decide what strings may be.
        seen: what was fitted, as `seen_as` has it, or None.

    Raises:
        ValueError: X is empty, a single item, of several kinds, or of another kind than what was fitted.
    """
    if isinstance(X, (str, os.PathLike)):
        rows_of(X)  # which says that X is a single item: names of datasets are for `embed`
    items = as_source(X, encoder, what="X")
    given = seen_as(items)
    if seen is not None and given != seen:
        raise ValueError(
            f"X holds {given} ({items.describe(0)}), but {seen} were fitted, and their features differ even in "
            f"one model; give {seen}, or fit {given}."
        )
    return items


def seen_as(items: StoredSource) -> str:
    """The kind of items that a classifier is fitted on: of sounds also how they are read, where that was chosen."""
    if isinstance(items, AudioSource):
        return f"sounds by {items.settings}" if items.settings else "sounds"
    return tower_of(items)


def item_names(items: StoredSource) -> list[str | None]:
    """What to call each item when it is shown to people: its file name (or the text itself), else None."""
    things = items.items if isinstance(items, ImageSource) else getattr(items, "texts", [None] * len(items))
    return [os.fspath(thing) if isinstance(thing, str | os.PathLike) else None for thing in things]


def embed_items(
    items: StoredSource,
    encoder: Any,
    cache: Any,
    device: torch.device | str,
    *,
    asked: bool = False,
    labels: Sequence[Any] | None = None,
) -> np.ndarray:
    """Features of the items ``[n, D]``, float32, each computed once.

    Args:
        items: to embed.
        encoder: what embeds them.
        cache: as for `embed`.
        device: as for `embed`.
        asked: they are to be answered, not learned from; then a few are computed without the cache.
        labels: of examples to learn from ``[n]``, to warn of the same content in two classes or twice in one.

    Raises:
        ValueError: an item cannot be read; the message names it.
    """
    from fewshot.cache.twins import warn_of_twins
    from fewshot.embedding import embed
    from fewshot.embedding.embed_dataset import embed_few
    from fewshot.embedding.plan import UnreadableItemError

    few = asked and len(items) <= FEW
    try:
        if few:
            features = embed_few(items, encoder, device)
        else:
            embedded = embed(items, encoder, cache=cache, device=device)
            features = as_float(embedded.features).cpu()
            if labels is not None and embedded.report["duplicates"]:
                names = item_names(items)
                warn_of_twins(embedded.keys[:, 0], labels, lambda row: names[row] or items.describe(row), within=True)
    except UnreadableItemError as error:  # every row of X needs an answer, so none is skipped here
        advice = "" if "correct or drop that row" in error.reason else " Repair it, or leave it out of X."
        raise ValueError(f"{error.reason}{advice}") from error
    if encoder.domain is not None and tower_of(items) == "images":
        _say_what_is_outside(features, encoder, few)
    rows: np.ndarray = features.numpy()
    return rows


def _say_what_is_outside(features: Tensor, encoder: Any, few: bool) -> None:
    """Warn of it; of few at a time once for each encoder, as a service asks a thousand times."""
    outside = encoder.domain.outside(features)
    if float(outside.double().mean()) > _OUTSIDE:
        level = logging.DEBUG if few and encoder in _warned else logging.WARNING
        _warned.add(encoder)
        _LOG.log(
            level,
            "%d of %d pictures are unlike all that %s was trained on (see its model card), so answers about them mean "
            "little, however sure they are; for photographs take an encoder such as "
            "'open_clip:ViT-B-32/laion2b_s34b_b79k'.",
            int(outside.sum()), len(outside), encoder.name,
        )  # fmt: skip


def refuse_missing(X: Any) -> None:
    """Refuse features that are not finite.

    Raises:
        ValueError: the first such row is named.
    """
    rows = np.asarray(X) if not isinstance(X, np.ndarray) else X
    if rows.ndim == 2 and rows.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(wrong):
            raise ValueError(f"row {wrong[0]} of X contains NaN or infinity; drop or impute such rows.")

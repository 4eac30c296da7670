"""What users call X, as rows of numbers: checks that say what was given, before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.source import as_float
from fewshot.learner import Learner


def check_array(X: Any, learner: Learner) -> Any:
    """X for a learner without an encoder: features ``[n, D]``, or images ``[n, C, H, W]`` if it takes those.

    scikit-learn's own checks follow; these are for what it would report in other words.

    Raises:
        ValueError: X holds files or images that need an encoder, or has the wrong number of dimensions.
    """
    if isinstance(X, Tensor):
        X = X.detach().cpu()
        X = (X if X.dtype == torch.float64 else as_float(X)).numpy()
    first = X[0] if isinstance(X, Sequence) and len(X) else None
    if isinstance(first, str | os.PathLike) or type(first).__module__.startswith("PIL."):
        raise ValueError(
            f"X holds {type(first).__name__} items, but encoder=None takes features [n, D] only; "
            "name an encoder, such as FewShotClassifier(encoder='timm:mobilenetv2_100')."
        )
    shape = np.shape(X) if isinstance(X, np.ndarray) else ()
    if learner.inputs == "images":
        if len(shape) != 4:
            raise ValueError(f"X is {list(shape)}, but {learner!r} takes images, an array [n, C, H, W].")
        return X.astype(np.float32) / 255 if X.dtype == np.uint8 else X
    if len(shape) > 2:
        raise ValueError(
            f"X is {list(shape)}, but {learner!r} takes features [n, D]; "
            "name an encoder for images, or flatten them with X.reshape(len(X), -1)."
        )
    return X


def as_items(X: Any) -> list[Any]:
    """X for an encoder: a list of files, images or texts.

    Raises:
        ValueError: X is empty, or a single item.
    """
    if isinstance(X, str | bytes | os.PathLike):
        raise ValueError(f"X is {X!r}; give a sequence of items, such as [{X!r}].")
    items = list(X)
    if not items:
        raise ValueError("X is empty; give at least one item.")
    return items


def item_names(items: Sequence[Any]) -> list[str | None]:
    """What to call each item when it is shown to people: its file name (or the text itself), else None."""
    return [os.fspath(item) if isinstance(item, str | os.PathLike) else None for item in items]


def embed_items(items: list[Any], encoder: Any, cache: Any, device: torch.device | str) -> np.ndarray:
    """Features of the items ``[n, D]``, float32, each computed once."""
    from fewshot.embedding import embed

    source = embed(items, encoder, cache=cache, device=device)
    return as_float(source.features).cpu().numpy()

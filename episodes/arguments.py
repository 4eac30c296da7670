"""What `evaluate` is given, checked before anything is computed: swapped arguments are named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from episodes.source import Source

_LEARNERS = (
    "a learner (a spec string or a callable Episode -> logits), a list of learners, or a mapping of names to them"
)
_SOURCE = "the rows, such as TensorSource(features, labels), fewshot.embed(dataset, encoder) or load_dataset(name)"
_SAMPLER = "what draws episodes, such as EpisodeSampler(source.labels, way=5, shot=1)"


def check_arguments(learners: Any, source: Any, sampler: Any) -> None:
    """Refuse what is no learner, source or sampler, and name the argument it was given as.

    Raises:
        ValueError: the message names each such argument, what it is and what it should be.
    """
    wrong = [
        f"{name} is {_described(given)}; it must be {due}"
        for name, given, due, kind in (
            ("learners", learners, _LEARNERS, "learners"), ("source", source, _SOURCE, "source"),
            ("sampler", sampler, _SAMPLER, "sampler"),
        )
        if _kind(given, kind) != kind
    ]  # fmt: skip
    if wrong:
        kinds = (_kind(learners, "learners"), _kind(source, "source"), _kind(sampler, "sampler"))
        swapped = "source" in (kinds[0], kinds[2]) or "sampler" in kinds[:2] or _kind(source, "learners") == "learners"
        hint = " Their order is not this one." if swapped and len(wrong) > 1 else ""
        raise ValueError(f"evaluate(learners, source, sampler): {'. '.join(wrong)}.{hint}")


def _kind(given: Any, wanted: str) -> str:
    """Which of the three something is."""
    if callable(getattr(given, "draw", None)) and callable(getattr(given, "recipe", None)):
        return "class" if isinstance(given, type) else "sampler"
    if isinstance(given, Source) and not isinstance(given, type):
        return "source"
    if wanted == "source":
        several = (
            isinstance(given, Mapping) and given and all(_kind(value, "source") == "source" for value in given.values())
        )
        return "source" if several else "other"
    if wanted == "learners":
        parts = given.values() if isinstance(given, Mapping) else given if isinstance(given, (list, tuple)) else [given]
        return "learners" if all(_is_learner(part) for part in parts) else "other"
    return "other"


def _is_learner(given: Any) -> bool:
    if isinstance(given, (type, Tensor, np.ndarray)):
        return False
    alone = _kind(given, "") == "other"
    return alone and (isinstance(given, str) or callable(given))


def _described(given: Any) -> str:
    """What something is, in words for a message."""
    if isinstance(given, type):
        return f"the class {given.__name__} itself, not an object of it"
    if isinstance(given, str):
        return f"the string {given[:80]!r}"
    if isinstance(given, os.PathLike):
        return f"the path {os.fspath(given)!r}"
    if isinstance(given, (Tensor, np.ndarray)):
        return f"{type(given).__name__} {list(given.shape)}"
    kind = _kind(given, "")
    if kind in ("source", "sampler"):
        return f"a {kind} ({type(given).__name__})"
    if isinstance(given, (list, tuple, Mapping)):
        parts = list(given.values() if isinstance(given, Mapping) else given)
        odd = next((part for part in parts if not _is_learner(part)), None)
        return f"a {type(given).__name__}" + (f" with {_described(odd)}" if odd is not None else "")
    return f"a callable ({getattr(given, '__name__', type(given).__name__)})" if callable(given) else repr(given)[:80]

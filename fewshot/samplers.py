"""Samplers by spec string: ``"dirichlet(alpha=2.0)"``."""

from __future__ import annotations

import logging
from functools import reduce
from typing import Any

import numpy as np

from fewshot.registry import argument_names, parse_spec, unknown

_LOG = logging.getLogger("fewshot")
_GIVEN = {"source", "labels", "way", "shot", "query", "seed", "name", "groups"}  # by other options, or by the dataset


def make_samplers(spec: str, source: Any, ways: list[int], shots: list[int], query: int, seed: int) -> list[Any]:
    """One sampler for each way and shot (just one where a sampler draws these itself), all over the same classes.

    A class with too few rows for the largest number of shots is left out of all, so that columns can be compared; a
    warning names it.

    Raises:
        ValueError: an unknown name, or an argument that the sampler does not have.
    """
    from episodes.samplers import SAMPLERS

    name, arguments = parse_spec(spec)
    if name not in SAMPLERS.names():
        raise ValueError(unknown("sampler", name, SAMPLERS.names()))
    kind = SAMPLERS.get(name)
    _check_arguments(kind, name, arguments)
    pairs = [(ways[0], shots[0])] if kind.own_task else [(way, shot) for way in ways for shot in shots]

    def make(**more: Any) -> list[Any]:
        return [kind.of(source, way, shot, query, seed, **{**arguments, **more}) for way, shot in pairs]

    samplers = make()
    drawn = [sampler.classes for sampler in samplers if hasattr(sampler, "classes")]
    if not drawn:
        return samplers
    shared = reduce(np.intersect1d, drawn)
    if any(len(classes) > len(shared) for classes in drawn):
        samplers = make(classes=shared.tolist())
    _warn_of_classes_left_out(shared, source, f"--shot {' '.join(map(str, shots))} with --query {query}", arguments)
    return samplers


def _check_arguments(kind: Any, name: str, arguments: dict[str, Any]) -> None:
    """Refuse what the sampler does not take, before it is made."""
    makers = [kind.of, *(cls for cls in kind.__mro__ if "__init__" in vars(cls))]
    takes = {argument for maker in makers for argument in argument_names(maker)} - _GIVEN
    for argument in arguments:
        if argument not in takes:
            raise ValueError(f"sampler {name!r} has no argument {argument!r}; it takes: {', '.join(sorted(takes))}.")


def _warn_of_classes_left_out(shared: Any, source: Any, task: str, arguments: dict[str, Any]) -> None:
    labels = source.labels.numpy()
    wanted = np.unique(labels if arguments.get("classes") is None else labels[np.isin(labels, arguments["classes"])])
    missing = np.setdiff1d(wanted, shared)
    if len(missing):
        first = ", ".join(repr(source.class_names[c]) for c in missing[:5]) + (", ..." if len(missing) > 5 else "")
        _LOG.warning(
            "%d of %d classes of %s have too few rows for %s and are never drawn: %s.",
            len(missing), len(wanted), source.name, task, first,
        )  # fmt: skip

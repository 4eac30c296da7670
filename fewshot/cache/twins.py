"""Rows of the very same content: in two classes one of them is wrong, in one class they count twice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger("fewshot")
_SHOWN = 3


def warn_of_twins(
    keys: NDArray[np.uint8], labels: Sequence[Any], describe: Callable[[int], str], *, within: bool = False
) -> None:
    """Say which content is labelled as two classes.

    Args:
        keys: content key of each row ``[n, 16]``.
        labels: class of each ``[n]``, as it is to be shown.
        describe: what to call a row.
        within: also say which content is in one class twice.
    """
    names = np.ascontiguousarray(keys).view("V16").reshape(-1)
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    twins = first[group]  # the first row of the same content
    others = np.flatnonzero(twins != np.arange(len(twins))).tolist()
    differ = [row for row in others if labels[row] != labels[twins[row]]]
    for row in differ[:_SHOWN]:
        _LOG.warning(
            "the same content is labelled %r (%s) and %r (%s).",
            labels[twins[row]], describe(int(twins[row])), labels[row], describe(row),
        )  # fmt: skip
    if len(differ) > _SHOWN:
        _LOG.warning("and %d more rows are labelled otherwise than a row of the same content.", len(differ) - _SHOWN)
    same = [row for row in others if labels[row] == labels[twins[row]]]
    if within and same:
        _LOG.warning(
            "%d of the examples %s the same content as another of their class, such as %s and %s; it counts twice, and "
            "an estimate that holds one of them out has seen the other.",
            len(same), "has" if len(same) == 1 else "have", describe(int(twins[same[0]])), describe(same[0]),
        )  # fmt: skip

"""Labels as users write them: numbers or names, never both."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import assert_all_finite, column_or_1d


def as_labels(y: Any) -> np.ndarray:
    """Labels as an array of whole numbers or of names ``[n]``.

    (scikit-learn's own check takes many classes of one example each for a regression, and warns.)

    Raises:
        ValueError: not one label per row, or labels are fractions, or of several kinds.

    >>> as_labels(np.array([2, 1], dtype=object))
    array([2, 1])
    """
    labels = column_or_1d(y, warn=True)
    if labels.dtype == object:
        kinds = sorted({type(label).__name__ for label in labels})
        if len(kinds) > 1:
            raise ValueError(f"Unknown label type: a mixture of {', '.join(kinds)}; give numbers or names.")
        labels = labels if is_named(labels) else np.array(labels.tolist())
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    whole = labels.dtype.kind in "biu" or (labels.dtype.kind == "f" and bool((labels == np.floor(labels)).all()))
    if not whole and not is_named(labels):
        raise ValueError(f"Unknown label type: {labels[:3].tolist()}...; classes are whole numbers or names.")
    return labels


def is_named(labels: np.ndarray) -> bool:
    """Whether labels are names rather than numbers."""
    return len(labels) > 0 and isinstance(labels.tolist()[0], str)


def merge_labels(*parts: np.ndarray) -> np.ndarray:
    """All distinct labels, sorted.

    Raises:
        ValueError: some are numbers and some are names.

    >>> merge_labels(np.array(["owl"]), np.array(["crow", "owl"])).tolist()
    ['crow', 'owl']
    """
    # numpy would silently turn the number 1 into the name "1".
    if len({is_named(labels) for labels in parts}) > 1:
        shown = " and ".join(str(labels[:3].tolist()) for labels in parts)
        raise ValueError(f"labels {shown} are numbers and names; give all as numbers, or all as names.")
    return np.unique(np.concatenate(parts))


def reject_label(chosen: Any, classes: np.ndarray) -> Any:
    """The label for "none of these": the chosen one, else -1 among numbers and ``"unknown"`` among names.

    Raises:
        ValueError: a class has that very label, or it is a name among numbers.
    """
    label = chosen if chosen is not None else "unknown" if is_named(classes) else -1
    if is_named(np.array([label])) != is_named(classes):
        raise ValueError(f"reject_label={label!r}, but the classes are {classes[:3].tolist()}; give one of their kind.")
    if label in classes.tolist():
        raise ValueError(f"the reject label {label!r} is also a class; set reject_label to something else.")
    return label

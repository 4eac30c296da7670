"""Labels in the forms that users have them: whole numbers, truth values or names, never a mixture, never missing."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_EXACT = 2.0**53  # beyond it neighbouring whole numbers are one and the same float


def label_array(labels: Any, what: str = "labels") -> NDArray[Any]:
    """Labels as an array of integers, whole floats, truth values or strings, as they were given.

    Args:
        labels: a list, array, tensor, or a column of a table (also nullable, categorical or of text).
        what: what messages call them.

    Raises:
        ValueError: a label is missing, fractional, infinite or too large to be distinguished from its neighbours, or
            labels are of several kinds; the message names the row.

    >>> label_array(["01", "1"]), label_array(np.array([2, 1], dtype=object))
    (array(['01', '1'], dtype='<U2'), array([2, 1]))
    """
    is_list = not hasattr(labels, "__array__")
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        array: NDArray[Any] = (labels if not labels.is_floating_point() else labels.double()).numpy()
    elif isinstance(labels, (str, bytes)):
        raise ValueError(f"{what} are one string, {labels!r}; give one label per row.")
    elif isinstance(labels, np.ndarray):
        array = labels
    else:
        array = _array(labels, what)
    if array.dtype == object:
        array = _of_objects(array, what)
        if is_list and array.dtype == object and array.size:
            array = array.astype(str)  # names
    kind = array.dtype.kind
    if kind == "T":  # NumPy's own strings of any length
        return array.astype(str)
    if kind == "f":
        _check_whole(array, what)
    elif kind not in "biuU" and not (kind == "O" and array.size and isinstance(array.flat[0], str)):
        if kind == "c":
            raise ValueError(f"Complex data not supported: {what} are {array.dtype}.")
        hint = {"S": "decode them: labels.astype(str)", "O": "numbers of at most 64 bits"}.get(kind, "")
        raise ValueError(
            f"Unknown label type: {what} are {array.dtype}; classes are whole numbers or names{hint and f' ({hint})'}."
        )
    return array


def name_list(names: Any, what: str = "class_names") -> list[str]:
    """Names of classes as strings; numbers are names, too.

    Raises:
        ValueError: one string, or none at all, instead of a list; or a name is missing.

    >>> name_list(np.array(["owl", "crow"])), name_list([1, 2])
    (['owl', 'crow'], ['1', '2'])
    """
    if isinstance(names, (str, bytes)):
        raise ValueError(f"{what} are one string, {names!r}; give a list of names, such as [{names!r}].")
    if names is None or not hasattr(names, "__iter__"):
        raise ValueError(f"{what} are {names!r:.80}; give a list of names.")
    listed = names.tolist() if hasattr(names, "tolist") else list(names)
    for place, name in enumerate(listed):
        if _kind(type(name)) == "missing" or (isinstance(name, float) and name != name):
            raise ValueError(f"name {place} of {what} is missing ({name!r}); give every class a name.")
    return [str(name) for name in listed]


def _array(labels: Any, what: str) -> NDArray[Any]:
    if hasattr(labels, "to_numpy"):  # a column of a table
        return np.asarray(labels.to_numpy())
    if hasattr(labels, "__array__"):
        return np.asarray(labels)
    if not hasattr(labels, "__iter__"):
        raise ValueError(f"{what} are {labels!r:.80}; give one label per row.")
    listed = [label.item() if isinstance(label, Tensor) and label.ndim == 0 else label for label in labels]
    if listed and isinstance(listed[0], (list, tuple, np.ndarray, Tensor)):
        return np.asarray(listed)  # too many dimensions: for the caller to report
    flat = np.empty(len(listed), dtype=object)  # NumPy would write the number 1 among names as the name "1"
    flat[:] = listed
    return flat


def _of_objects(array: NDArray[Any], what: str) -> NDArray[Any]:
    """Objects as numbers or truth values; names stay objects.

    Raises:
        ValueError: one is missing, or they are of several kinds.
    """
    values = array.reshape(-1).tolist()
    example = dict(zip(map(type, reversed(values)), range(len(values) - 1, -1, -1), strict=True))  # type -> first row
    kinds: dict[str, int] = {}
    for kind, row in sorted(example.items(), key=lambda item: item[1]):
        kinds.setdefault(_kind(kind), row)
    floats = tuple(kind for kind in example if issubclass(kind, (float, np.floating)))
    absent = (row for row, value in enumerate(values) if isinstance(value, floats) and value != value)
    missing = kinds.get("missing", next(absent, None) if floats else None)
    if missing is not None:
        raise ValueError(
            f"Unknown label type: row {missing} of {what} is missing ({values[missing]!r}); drop or name such rows."
        )
    if len(kinds) > 1:
        types = ", ".join(sorted(kind.__name__ for kind in example))
        shown = " and ".join(f"{values[row]!r} (row {row})" for row in sorted(kinds.values())[:2])
        raise ValueError(
            f"Unknown label type: {what} are a mixture of {types}, such as {shown}; give all as numbers, "
            "or all as names."
        )
    if "other" in kinds:
        raise ValueError(f"Unknown label type: {type(values[0]).__name__} in {what}; classes are numbers or names.")
    return array if "name" in kinds or not values else np.array(values).reshape(array.shape)


def _kind(kind: type) -> str:
    if kind is type(None) or kind.__name__ in ("NAType", "NaTType"):
        return "missing"
    if issubclass(kind, str):
        return "name"
    if issubclass(kind, (bool, np.bool_)):
        return "truth value"
    return "number" if issubclass(kind, Real) else "other"


def _check_whole(array: NDArray[Any], what: str) -> None:
    flat = array.reshape(-1)
    for wrong, reason in (
        (np.isnan(flat), "is missing (NaN); drop such rows"),
        (np.abs(flat) >= _EXACT, "is too large for a floating-point label; give integers or names"),
        (flat != np.floor(flat), "is a fraction; classes are whole numbers or names"),
    ):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            kind = "labels are fractions" if "fraction" in reason else "not a class"
            raise ValueError(f"Unknown label type: row {row} of {what}, {flat[row]}, {reason} ({kind}).")

"""`Pool`: the rows of a dataset by class, of the classes that have enough of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from episodes.identity import digest_array


class Pool:
    """The rows of a dataset by class, of the classes that have enough of them.

    Args:
        labels: class of each row ``[M]``, integers from 0.
        need: rows that a class must have.
        way: classes that there must be.
        classes: only these dataset classes; all by default.
        name: what error messages call the dataset.
        words: what `way` and `need` are called where they are wanted for.
        remedy: what to do where there are too few.

    Attributes:
        classes: the dataset classes that have enough rows ``[C]``, ascending.
        sizes: their numbers of rows ``[C]``.
        share: how many these are, of how many classes of the dataset.
        length: number of rows of the dataset M.
        digest: stands for the labels.

    Raises:
        ValueError: too few classes have enough rows, or labels are no class numbers.
    """

    def __init__(
        self,
        labels: ArrayLike | Tensor,
        need: int,
        way: int,
        *,
        classes: Sequence[int] | None = None,
        name: str = "the dataset",
        words: tuple[str, str] = ("way", "shot + query"),
        remedy: str = "lower way, shot or query",
    ) -> None:
        array = as_labels(labels)
        self.length, self.digest = len(array), digest_array(array)
        self.order = np.argsort(array, kind="stable").astype(np.int64)  # rows grouped by class
        # Found in the sorted labels: a table of counts would be as long as the largest class number.
        present, starts, counts = np.unique(array[self.order], return_index=True, return_counts=True)
        places = np.arange(len(present)) if classes is None else _places(classes, present, name)
        enough = counts[places] >= need
        chosen = places[enough]
        self.classes: NDArray[np.int64] = present[chosen]
        self.sizes = counts[chosen].astype(np.int32)
        self.share = [len(chosen), len(present)]
        self._starts, self._counts = starts[chosen].astype(np.int64), counts
        if len(chosen) < way:
            lacking = ", ".join(f"class {present[c]} has {counts[c]}" for c in places[~enough][:5])
            more = f" ({lacking}{', ...' if (~enough).sum() > 5 else ''})" if lacking else ""
            raise ValueError(
                f"{words[0]}={way}, but {name!r} has {len(chosen)} classes with at least {words[1]} = {need} "
                f"rows{more}; {remedy}."
            )
        self.equal = int(self.sizes[0]) if (self.sizes == self.sizes[0]).all() else None  # rows of each class

    def limits(self, chosen: NDArray[Any]) -> NDArray[np.int32] | int:
        """Rows of each of these classes, as `distinct` takes them: one number where it is the same for all."""
        return self.equal if self.equal is not None else self.sizes[chosen].reshape(-1)

    def rows(self, items: NDArray[Any], chosen: NDArray[Any]) -> NDArray[np.int64]:
        """Dataset rows of items (numbers within a class) of classes (positions in `classes`), of one shape."""
        return np.take(self.order, items + self._starts[chosen])

    def shuffled(self, numbers: NDArray[np.float64]) -> Pool:
        """The same with the rows of each class in the order of a number for each row ``[M]``."""
        group = np.repeat(np.arange(len(self._counts)), self._counts)
        other = copy.copy(self)
        other.order = self.order[np.lexsort((numbers, group))]
        return other


def as_labels(labels: ArrayLike | Tensor) -> NDArray[np.int64]:
    """Class numbers ``[M]`` as int64.

    Raises:
        ValueError: they are no integers from 0 to 2**63 - 1.
    """
    if hasattr(labels, "labels") and hasattr(labels, "class_names"):
        raise ValueError(f"labels are {labels!r}, a source; give the labels of it: source.labels.")
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(
            f"labels are {array.dtype} of shape {list(array.shape)}; they must be integers [M] from 0 to 2**63 - 1. "
            "TensorSource(features, labels).labels numbers any labels from 0."
        )
    if array.size and array.min() < 0:
        raise ValueError(f"labels contain {array.min()}; classes are numbered from 0.")
    if array.size and int(array.max()) > np.iinfo(np.int64).max:  # as Python integers: NumPy 1 would compare floats
        raise ValueError(
            f"labels contain {array.max()}; they must be integers from 0 to 2**63 - 1. "
            "TensorSource(features, labels).labels numbers any labels from 0."
        )
    return array.astype(np.int64, copy=False)


def whole(what: str, value: Any, least: int, most: int | None = None) -> int:
    """An argument that must be a whole number.

    Raises:
        ValueError: it is not, or lies outside ``least..most``.
    """
    try:
        fits = not isinstance(value, (bool, np.bool_)) and int(value) == value and value >= least
        if fits and (most is None or value <= most):
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise ValueError(f"{what}={value!r}; it must be an integer {allowed}.")


def _places(classes: Sequence[int], present: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """Positions of the wanted classes among those present."""
    wanted = np.asarray(classes.detach().cpu() if isinstance(classes, Tensor) else classes)
    last = int(present[-1]) if len(present) else -1
    if wanted.ndim != 1 or (wanted.size and not np.issubdtype(wanted.dtype, np.integer)):
        raise ValueError(f"classes are {wanted.dtype} of shape {list(wanted.shape)}; they must be integers [C].")
    wrong = wanted[(wanted < 0) | (wanted > last)]
    if wrong.size:
        raise ValueError(f"classes contain {wrong[0]}, but {name!r} has classes 0..{last}.")
    return np.flatnonzero(np.isin(present, wanted))

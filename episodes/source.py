"""`Source`: rows by index, the same interface for decoded images, texts and cached embeddings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from episodes.files import file_state
from episodes.identity import digest, digest_array
from episodes.labels import label_array, name_list
from episodes.precision import as_float as as_float
from episodes.precision import refuse_unusual


@runtime_checkable
class Source(Protocol):
    """Rows of a dataset by index.

    Attributes:
        labels: class of each row ``[M]``, int64 in ``0..C-1``, in host memory.
        class_names: one name per class ``[C]``.
        name: what messages and results call it.
        kind: ``"features"``, ``"images"``, ``"texts"`` or ``"sounds"``: what a row is.
    """

    labels: Tensor
    class_names: list[str]
    name: str
    kind: str

    def __len__(self) -> int:
        """Number of rows M."""
        ...

    def __getitem__(self, index: Any) -> Tensor:
        """Rows for an index array of any shape: ``[...] -> [..., *x]``, floating point."""
        ...

    def fingerprint(self) -> str:
        """A digest of the content: equal for equal rows and labels, wherever they are stored."""
        ...


@runtime_checkable
class StoredSource(Source, Protocol):
    """A source whose rows can be read one by one as they are stored, which is what `fewshot.embed` needs.

    All sources of this package are such; so is one of your own that adds these three methods.
    """

    def read(self, row: int) -> bytes | Tensor:
        """A row as stored: an encoded picture, a text as UTF-8, or a tensor; its identity is computed from this.

        Raises:
            OSError: it cannot be read.
            ValueError: it is nothing that can be read; the message names it.
        """
        ...

    def describe(self, row: int) -> str:
        """A row as messages name it."""
        ...

    def select(self, rows: Any, name: str | None = None) -> Source:
        """Some of the rows, with the same classes."""
        ...


def tower_of(source: Source) -> str:
    """Which tower of an encoder takes the rows: ``"texts"``, ``"sounds"`` (samples), else ``"images"``.

    Tensors of any shape go to the last, and so do recordings as pictures.
    """
    kind = getattr(source, "kind", "")
    return kind if kind in ("texts", "sounds") and not isinstance(source, TensorSource) else "images"


def number_labels(
    labels: ArrayLike | Tensor | Sequence[Any], class_names: Sequence[str] | None, rows: int, name: str
) -> tuple[Tensor, list[str]]:
    """Labels of any kind as ``0..C-1`` with one name per class.

    Args:
        labels: integers or strings ``[M]``. With `class_names`, integers are indices into it.
        class_names: names of classes 0..C-1; by default the sorted distinct labels themselves.
        rows: M, the number of rows that the labels must cover.
        name: what error messages call the dataset.

    Raises:
        ValueError: the wrong number of labels, or a label without a name.
    """
    array = label_array(labels, f"labels of {name!r}")
    if array.ndim != 1 or len(array) != rows:
        raise ValueError(
            f"{name!r} has {rows} rows but labels of shape {list(array.shape)}; give one label per row, [{rows}]."
        )
    if array.dtype.kind == "f":
        array = array.astype(np.int64)
    if class_names is None:
        distinct, numbers = np.unique(array, return_inverse=True)
        return torch.from_numpy(numbers.astype(np.int64).reshape(-1)), [str(value) for value in distinct]
    names = name_list(class_names)
    if array.dtype.kind in "US" or array.dtype == object:
        position = {value: i for i, value in enumerate(names)}
        unknown = sorted({str(value) for value in array} - set(position))
        if unknown:
            raise ValueError(f"labels of {name!r} contain {unknown[:3]}, which class_names do not.")
        return torch.tensor([position[str(value)] for value in array], dtype=torch.int64), names
    if array.size and (array.min() < 0 or array.max() >= len(names)):
        raise ValueError(
            f"labels of {name!r} range from {array.min()} to {array.max()}, but there are {len(names)} class_names; "
            f"labels must lie in 0..{len(names) - 1}."
        )
    return torch.from_numpy(array.astype(np.int64)), names


class TensorSource:
    """Rows held in one tensor: in memory, on an accelerator, or memory-mapped.

    Args:
        features: ``[M, *x]``: a tensor, an array or a `numpy.memmap`. Rows are read as floating point:
            half precision becomes float32, and 8-bit integers (images) become float32 in 0..1.
        labels: ``[M]``: integers or strings.
        class_names: one name per class; by default the distinct labels.
        name: what messages and results call it.
        kind: ``"features"`` or ``"images"``; by default features if a row is a vector, else images.
        check_finite: refuse NaN and infinity now, rather than in some episode; a memory-mapped array is
            not read for this.
        report: how the rows came to be (`fewshot.embed` leaves its cache counts here).

    Raises:
        ValueError: labels do not fit the rows, or features are not finite.

    >>> source = TensorSource(torch.eye(4), ["cat", "dog", "cat", "dog"])
    >>> source.labels.tolist(), source.class_names, source[torch.tensor([[0, 3]])].shape
    ([0, 1, 0, 1], ['cat', 'dog'], torch.Size([1, 2, 4]))
    """

    def __init__(
        self,
        features: Tensor | ArrayLike,
        labels: Tensor | ArrayLike | Sequence[Any],
        class_names: Sequence[str] | None = None,
        *,
        name: str = "features",
        kind: str | None = None,
        check_finite: bool = True,
        report: dict[str, Any] | None = None,
    ) -> None:
        refuse_unusual(features, "features")
        mapped = isinstance(features, np.memmap)
        self._mapped = features if isinstance(features, np.memmap) and not features.flags.writeable else None
        self._seen: tuple[Any, str] | None = None
        self.features = features if isinstance(features, Tensor) else _as_tensor(features)
        if self.features.ndim < 2:
            raise ValueError(f"features of {name!r} are {list(self.features.shape)}; they must be [M, *x].")
        if 0 in self.features.shape[1:]:
            raise ValueError(f"features of {name!r} are {list(self.features.shape)}: a row holds no numbers.")
        if not mapped and check_finite and self.features.is_floating_point():
            _refuse_non_finite(self.features, name)
        self.labels, self.class_names = number_labels(labels, class_names, len(self.features), name)
        self.name = name
        self.kind = kind or ("features" if self.features.ndim == 2 else "images")
        self.report = dict(report or {})

    def __len__(self) -> int:
        """Number of rows M."""
        return len(self.features)

    def __getitem__(self, index: Any) -> Tensor:
        """Rows for an index array of any shape: ``[...] -> [..., *x]``."""
        index = torch.as_tensor(index)
        if index.dtype == torch.bool:
            index = index.nonzero().squeeze(-1)
        flat = index.reshape(-1).to(self.features.device)
        rows = self.features.index_select(0, flat)
        return as_float(rows).reshape(*index.shape, *self.features.shape[1:])

    def gather(self, index: Tensor, out: Tensor | None) -> Tensor:
        """Like indexing, into a buffer that is reused: ``[...] -> [..., *x]``.

        Fresh memory costs more than the copy itself (its pages must be mapped), so the evaluation loop
        passes the same `out` again and again. It is used where it has the right type and is large enough.
        """
        features = self.features
        if out is None or out.dtype != features.dtype or out.device != features.device:
            return self[index]
        shape = (*index.shape, *features.shape[1:])
        rows = out[: index.numel()]
        torch.index_select(features, 0, index.reshape(-1), out=rows)
        return rows.view(shape)

    def buffer(self, rows: int) -> Tensor | None:
        """A buffer for `gather`, or None where rows must be converted anyway."""
        if self.features.dtype not in (torch.float32, torch.float64):
            return None
        return self.features.new_empty((rows, *self.features.shape[1:]))

    def read(self, row: int) -> Tensor:
        """A row as stored ``[*x]``, of whatever type; not a copy."""
        return self.features[row]

    def describe(self, row: int) -> str:
        """A row as messages name it."""
        return f"row {row} of {self.name!r}"

    def to(self, device: torch.device | str) -> TensorSource:
        """The same rows on another device (labels stay in host memory)."""
        if self.features.device == torch.device(device):
            return self
        return self._with(self.features.to(device, non_blocking=True))

    def select(self, rows: Tensor | ArrayLike, name: str | None = None) -> TensorSource:
        """Some of the rows, with the same classes."""
        index = torch.as_tensor(rows)
        index = index.nonzero().squeeze(-1) if index.dtype == torch.bool else index
        part = self._with(self.features.index_select(0, index.to(self.features.device)))
        part.labels, part.name = self.labels.index_select(0, index.cpu()), name or self.name
        return part

    def fingerprint(self) -> str:
        """A digest of rows and labels as they are now, however they were written to."""
        return digest([self._content(), self.labels])

    def _content(self) -> str:
        """A digest of the features; those of a file mapped for reading are read again only when it has changed."""
        mapped = self._mapped
        if mapped is None or self.features.data_ptr() != mapped.ctypes.data:
            return digest_array(self.features)
        try:
            state = (*file_state(str(mapped.filename)), *self.features.shape)
        except OSError:  # removed since, so what the map still shows cannot be written to
            state = None
        if self._seen is None or self._seen[0] != state:
            self._seen = (state, digest_array(self.features))
        return self._seen[1]

    def _with(self, features: Tensor) -> TensorSource:
        other = copy.copy(self)
        other.features = features
        if self._mapped is not None and features.data_ptr() != self._mapped.ctypes.data:
            other._mapped = None  # a part in memory must not hold on to the file, nor take it along to a worker
        return other

    def __repr__(self) -> str:
        shape, classes = list(self.features.shape), len(self.class_names)
        return f"TensorSource({self.name!r}, {shape}, {classes} classes, {self.features.device})"


def _as_tensor(features: ArrayLike) -> Tensor:
    import warnings

    array = np.asanyarray(features)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"features are {array.dtype}; they must be numbers [M, *x].")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # which torch stores, but hardly computes with
        array = array.astype(np.int64)
    if not array.dtype.isnative or min(array.strides, default=0) < 0:  # which torch refuses
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    with warnings.catch_warnings():  # a read-only map is fine: nothing here ever writes to its rows
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _refuse_non_finite(features: Tensor, name: str) -> None:
    block = max(1, 2**22 // max(1, features[:1].numel()))
    for start in range(0, len(features), block):
        bad = ~features[start : start + block].flatten(1).isfinite().all(1)
        if bad.any():
            row = start + int(bad.nonzero()[0])
            raise ValueError(
                f"row {row} of {name!r} contains NaN or infinity; drop or impute such rows, "
                "or correct what produced them."
            )

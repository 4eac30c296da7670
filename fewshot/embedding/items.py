"""What can be embedded, as one kind of thing: items with a content key, a label and a name for messages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from episodes.image_source import ImageSource
from episodes.pictures import decode_picture, encode_picture
from episodes.source import TensorSource, as_float, number_labels
from episodes.text_source import TextSource


class Items(Protocol):
    """Rows of a dataset before they are embedded.

    Attributes:
        kind: ``"images"`` or ``"texts"``: which tower of the encoder they need.
        tag: how their content key is computed: ``"file"``, ``"tensor"`` or ``"text"``.
        labels: class of each row ``[M]``.
        class_names: one name per class.
        name: of the dataset.
    """

    kind: str
    tag: str
    labels: Tensor
    class_names: list[str]
    name: str

    def __len__(self) -> int:
        """Number of rows M."""
        ...

    def payload(self, row: int) -> Any:
        """The content of a row, cheaply: encoded bytes, a tensor, or a string; what its key is made of."""
        ...

    def picture(self, payload: Any) -> Any:
        """The PIL image (RGB) that a payload holds."""
        ...

    def tensor(self, payload: Any) -> Tensor:
        """The payload as a float tensor, for encoders without a transform."""
        ...

    def describe(self, row: int) -> str:
        """The row as messages name it."""
        ...

    def part(self, first: int, last: int) -> Items:
        """Rows ``first, ..., last - 1``."""
        ...


class Pictures:
    """Encoded images: files, or anything that an `ImageSource` reads."""

    kind, tag = "images", "file"

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self.labels, self.class_names, self.name = source.labels, source.class_names, source.name

    def __len__(self) -> int:
        return len(self.labels)

    def payload(self, row: int) -> bytes:
        """The content of a row."""
        return self.source.read(row)

    def picture(self, payload: bytes) -> Any:
        """The image in a payload."""
        return decode_picture(payload)

    def tensor(self, payload: bytes) -> Tensor:
        """A payload as float tensor."""
        pixels = torch.from_numpy(np.array(decode_picture(payload)))
        return as_float(pixels.permute(2, 0, 1))  # [3, H, W]

    def describe(self, row: int) -> str:
        """The row as messages name it."""
        return self.source.describe(row)

    def part(self, first: int, last: int) -> Pictures:
        """Some of the rows."""
        return Pictures(self.source.select(torch.arange(first, last)))


class DatasetPictures(Pictures):
    """Images of a `torch.utils.data.Dataset` that gives PIL images or uint8 arrays ``[H, W, 3]``."""

    def __init__(
        self, dataset: Any, rows: range, labels: Tensor, class_names: list[str], name: str
    ) -> None:  # the pixels are the content: how the dataset stores them is its own affair
        self.dataset, self.rows = dataset, rows
        self.labels, self.class_names, self.name = labels, class_names, name

    def payload(self, row: int) -> bytes:
        """The content of a row."""
        return encode_picture(_first(self.dataset[self.rows[row]]))

    def describe(self, row: int) -> str:
        """The row as messages name it."""
        return f"row {self.rows[row]} of {self.name!r}"

    def part(self, first: int, last: int) -> DatasetPictures:
        """Some of the rows."""
        rows, labels = self.rows[first:last], self.labels[first:last]
        return DatasetPictures(self.dataset, rows, labels, self.class_names, self.name)


class Tensors:
    """Rows that are tensors: images ``[M, C, H, W]`` or ``[M, H, W]``; any shape without a transform."""

    kind, tag = "images", "tensor"

    def __init__(self, source: TensorSource, offset: int = 0) -> None:
        self.source, self.offset = source, offset
        self.features = source.features
        self.labels, self.class_names, self.name = source.labels, source.class_names, source.name

    def __len__(self) -> int:
        return len(self.labels)

    def payload(self, row: int) -> Tensor:
        """The content of a row."""
        return self.features[row]

    def picture(self, payload: Tensor) -> Any:
        """The image in a payload."""
        from PIL import Image

        pixels = payload.detach().cpu()
        if pixels.ndim == 2:
            pixels = pixels.unsqueeze(0)
        if pixels.ndim != 3 or len(pixels) not in (1, 3):
            raise ValueError(
                f"a row is {list(payload.shape)}, which is no image [3, H, W], [1, H, W] or [H, W]; "
                "rows that are features already need no encoder."
            )
        if pixels.dtype != torch.uint8:
            low, high = pixels.aminmax()
            if not pixels.is_floating_point() or low < 0 or high > 1:
                raise ValueError(
                    f"pixels are {pixels.dtype} from {low} to {high}; give uint8 0..255 or floats 0..1, "
                    "not normalised: the encoder does that."
                )
            pixels = pixels.mul(255).round().to(torch.uint8)
        return Image.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())

    def tensor(self, payload: Tensor) -> Tensor:
        """A payload as float tensor."""
        return as_float(payload)

    def describe(self, row: int) -> str:
        """The row as messages name it."""
        return f"row {row + self.offset} of {self.name!r}"

    def part(self, first: int, last: int) -> Tensors:
        """Some of the rows."""
        rows = torch.arange(first, last)
        return Tensors(self.source.select(rows), self.offset + first)


class Texts:
    """Strings."""

    kind, tag = "texts", "text"

    def __init__(self, source: TextSource, offset: int = 0) -> None:
        self.source, self.offset = source, offset
        self.labels, self.class_names, self.name = source.labels, source.class_names, source.name

    def __len__(self) -> int:
        return len(self.labels)

    def payload(self, row: int) -> str:
        """The content of a row."""
        return self.source.texts[row]

    def picture(self, payload: str) -> Any:
        """The image in a payload."""
        raise TypeError("texts are no pictures")

    def tensor(self, payload: str) -> Tensor:
        """A payload as float tensor."""
        raise TypeError("texts are no tensors")

    def describe(self, row: int) -> str:
        """The row as messages name it."""
        text = self.source.texts[row]
        shown = text if len(text) <= 40 else text[:40] + "..."
        return f"text {shown!r} (row {row + self.offset} of {self.name!r})"

    def part(self, first: int, last: int) -> Texts:
        """Some of the rows."""
        texts, labels = self.source.texts[first:last], self.labels[first:last]
        return Texts(TextSource(texts, labels, self.class_names, name=self.name), self.offset + first)


def as_items(dataset: Any, encoder: Any, labels: Any = None, class_names: Sequence[str] | None = None) -> Items:
    """Any dataset that `fewshot.embed` takes, as items; labels are read without decoding anything.

    Raises:
        ValueError: the dataset is none of the known kinds, or the encoder has no tower for it.
    """
    if isinstance(dataset, str):
        from episodes import load_dataset

        dataset = load_dataset(dataset)
    items = _from_source(dataset) if hasattr(dataset, "class_names") else None
    if items is None:
        items = _from_plain(dataset, encoder, labels, class_names)
    elif labels is not None or class_names is not None:
        raise ValueError(f"{items.name!r} has labels of its own; labels= is for plain lists and arrays.")
    if hasattr(encoder, "encodes") and not encoder.encodes(items.kind):
        have = "images" if items.kind == "texts" else "texts"
        raise ValueError(f"{items.name!r} holds {items.kind}, but {encoder.name!r} encodes {have} only.")
    return items


def _from_source(source: Any) -> Items | None:
    if isinstance(source, TensorSource):
        return Tensors(source)
    if getattr(source, "kind", "") == "texts":
        return Texts(source)
    return Pictures(source) if hasattr(source, "read") else None


def _from_plain(dataset: Any, encoder: Any, labels: Any, class_names: Sequence[str] | None) -> Items:
    if hasattr(dataset, "__getitem__") and not isinstance(dataset, (Tensor, np.ndarray, list, tuple)):
        return _from_torch_dataset(dataset, labels, class_names)
    rows = len(dataset) if hasattr(dataset, "__len__") else -1
    if rows < 1:
        raise ValueError(
            f"cannot embed {dataset!r:.80}; give a dataset's name, a Source, a torch Dataset with labels, "
            "or a non-empty list of files, images, arrays or texts."
        )
    if labels is None:
        labels, class_names = torch.zeros(rows, dtype=torch.int64), ["unlabelled"]
    if isinstance(dataset, Tensor):
        return Tensors(TensorSource(dataset, labels, class_names, name="tensors"))
    array = np.asarray(dataset) if isinstance(dataset, np.ndarray) else None
    if array is not None and array.dtype.kind == "f":
        return Tensors(TensorSource(array, labels, class_names, name="arrays"))
    things = list(dataset)
    strings = sum(isinstance(thing, str) for thing in things)
    if strings == rows and _are_texts(things, encoder):
        return Texts(TextSource([str(thing) for thing in things], labels, class_names))
    if isinstance(things[0], Tensor):
        return Tensors(TensorSource(torch.stack(things), labels, class_names, name="tensors"))
    return Pictures(ImageSource(things, labels, class_names))


def _are_texts(strings: list[str], encoder: Any) -> bool:
    """Strings are texts or file names; an encoder of both kinds leaves it to whether the files exist."""
    images, texts = encoder.encodes("images"), encoder.encodes("texts")
    if images != texts:
        return bool(texts)
    there = [os.path.isfile(string) for string in strings]
    if any(there) and not all(there):
        raise ValueError(
            f"{strings[there.index(False)]!r} is no file, but other strings are; give pathlib.Path objects "
            "for files, or TextSource(texts, labels) for texts."
        )
    return not any(there)


def _from_torch_dataset(dataset: Any, labels: Any, class_names: Sequence[str] | None) -> Items:
    name = type(dataset).__name__
    rows = len(dataset)
    if labels is None:
        labels, class_names = _labels(dataset)
    if labels is None:
        raise ValueError(
            f"{name} has none of .targets, .labels and .samples, so its labels could only be read by "
            "decoding every item; give embed(..., labels=[...])."
        )
    samples = getattr(dataset, "samples", None)
    plain = getattr(dataset, "transform", None) is None and getattr(dataset, "transforms", None) is None
    if plain and samples and isinstance(samples[0], (tuple, list)) and isinstance(samples[0][0], (str, Path)):
        return Pictures(ImageSource([sample[0] for sample in samples], labels, class_names, name=name))
    numbers, names = number_labels(labels, class_names, rows, name)
    first = _first(dataset[0])
    if isinstance(first, Tensor):
        stacked = torch.stack([_first(dataset[row]) for row in range(rows)])
        return Tensors(TensorSource(stacked, numbers, names, name=name))
    if isinstance(first, str):
        return Texts(TextSource([_first(dataset[row]) for row in range(rows)], numbers, names, name=name))
    return DatasetPictures(dataset, range(rows), numbers, names, name)


def _labels(dataset: Any) -> tuple[Any, Sequence[str] | None]:
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):  # torch.utils.data.Subset
        labels, names = _labels(dataset.dataset)
        return (None if labels is None else np.asarray(labels)[np.asarray(dataset.indices)]), names
    names = getattr(dataset, "classes", None)
    for attribute in ("targets", "labels"):
        if (labels := getattr(dataset, attribute, None)) is not None:
            return np.asarray(labels), names
    samples = getattr(dataset, "samples", None)
    if samples is None:
        return None, None
    return np.asarray([sample[1] for sample in samples]), names


def _first(item: Any) -> Any:
    return item[0] if isinstance(item, (tuple, list)) else item

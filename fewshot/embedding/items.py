"""What can be embedded, as one kind of thing: items with a content key, a label and a name for messages."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from episodes.image_source import ImageSource
from episodes.pictures import decode_picture, encode_picture, is_deep
from episodes.pixels import to_pixels
from episodes.source import TensorSource, as_float
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


def content_key(items: Items, payload: Any, fields: dict[str, int]) -> bytes:
    """The key of a payload under which its features are kept.

    Pictures of more than 8 bits a channel have a field more: their grey levels were once read differently.
    """
    from fewshot.cache.fingerprint import item_key

    if items.tag == "file" and is_deep(payload):
        fields = {**fields, "levels": 1}
    return item_key(items.tag, payload, **fields)


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
        return encode_picture(first_part(self.dataset[self.rows[row]]))

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

        return Image.fromarray(to_pixels(payload))

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


def first_part(item: Any) -> Any:
    """The image of an (image, label, ...) item, or the item itself."""
    return item[0] if isinstance(item, (tuple, list)) else item

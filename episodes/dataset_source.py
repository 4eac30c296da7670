"""`DatasetSource`: the images of a `torch.utils.data.Dataset`, read when they are requested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor

from episodes.image_source import ImageSource
from episodes.pictures import encode_picture


class DatasetSource(ImageSource):
    """Images of a torch dataset whose items are images, or tuples that begin with one.

    Its pixels are a row's content; how the dataset stores them does not count.

    Args:
        dataset: gives PIL images, or arrays and tensors as `ImageSource` takes them.
        labels: ``[M]``: integers or strings.
        class_names: one name per class; by default the distinct labels.
        options: as for `ImageSource`.

    Raises:
        ValueError: labels do not fit the items.
    """

    def __init__(
        self,
        dataset: Any,
        labels: Tensor | ArrayLike | Sequence[Any],
        class_names: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        self.dataset = dataset
        rows: Any = range(len(dataset))  # its items are rows of the dataset
        super().__init__(rows, labels, class_names, **options)

    def read(self, row: int) -> bytes:
        """An image as the bytes of a PPM file.

        Raises:
            ValueError: the item is no image.
        """
        return encode_picture(first_part(self.dataset[self.items[row]]))

    def describe(self, row: int | None) -> str:
        """The row of the dataset, as messages name it."""
        return f"an image of {self.name!r}" if row is None else f"row {self.items[row]} of {self.name!r}"


def first_part(item: Any) -> Any:
    """The image of an (image, label, ...) item, or the item itself."""
    return item[0] if isinstance(item, (tuple, list)) else item

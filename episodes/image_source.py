"""`ImageSource`: labelled pictures that are decoded when they are requested."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from episodes.device import processors
from episodes.files import file_state
from episodes.identity import UnknownIdentityError, digest, digest_array
from episodes.inputs import check_whole, read_file, rows_of
from episodes.labelled_files import IMAGES, Kind, files_by_folder
from episodes.labelled_tables import pictures_by_table
from episodes.pictures import CentreCrop, decode_picture, encode_picture, probe
from episodes.pixels import as_input
from episodes.source import number_labels

if TYPE_CHECKING:
    from PIL import Image
    from typing_extensions import Self

    Picture = str | os.PathLike[str] | Image.Image | NDArray[Any] | Tensor
Given = TypeVar("Given")
Made = TypeVar("Made")


class ImageSource:
    """Pictures by index, from files or from memory, decoded in parallel when they are requested.

    Labels are known without opening a single file. Pictures are turned upright (EXIF) and made RGB.

    Args:
        items: ``[M]``: file names, PIL images, or arrays and tensors ``[H, W, 3]``, ``[3, H, W]`` or ``[H, W]``
            (uint8, or floats in 0..1), also mixed; an array of them; or a column of a table.
        labels: ``[M]``: integers or strings.
        class_names: one name per class; by default the distinct labels.
        transform: PIL image -> tensor ``[3, H, W]`` (see `episodes.pixels.as_input`), the same shape for every
            picture; by default
            `CentreCrop(size)`: the centre square resized, pixels in 0..1.
        size: height and width in pixels of the default transform.
        workers: decoding threads; by default one per available processor.
        name: what messages and results call it.

    Raises:
        ValueError: labels do not fit the items, or an item is no picture.

    >>> pictures = [np.full((40, 60, 3), level, np.uint8) for level in (0, 51, 255)]
    >>> source = ImageSource(pictures, ["night", "dusk", "day"], size=32)
    >>> source[torch.tensor([[0, 1], [2, 1]])].shape
    torch.Size([2, 2, 3, 32, 32])
    """

    kind = "images"
    files: ClassVar[Kind] = IMAGES

    def __init__(
        self,
        items: Sequence[Picture],
        labels: Tensor | ArrayLike | Sequence[Any],
        class_names: Sequence[str] | None = None,
        *,
        transform: Callable[[Image.Image], Tensor] | None = None,
        size: int = 84,
        workers: int | None = None,
        name: str = "images",
    ) -> None:
        self.items = list(rows_of(items, "items"))
        self.labels, self.class_names = number_labels(labels, class_names, len(self.items), name)
        self.transform = CentreCrop(size) if transform is None else transform
        self.workers = None if workers is None else check_whole("workers", workers)
        self.name = name
        self._digests: dict[str, tuple[Any, bytes]] = {}  # of files: their state when they were read, and the digest

    @classmethod
    def from_folder(cls, root: str | os.PathLike[str], **options: Any) -> Self:
        """One class per folder that holds files of this kind, named by its path below `root` (``"birds/owl"``).

        Hidden files and folders are ignored, and so are files of another kind by their extension.

        Args:
            root: the folder.
            options: as for the class.

        Raises:
            ValueError: a class folder is empty, or files lie where their class is unclear.
            FileNotFoundError: there is no such folder.
        """
        paths, labels, classes = files_by_folder(root, cls.files)
        options.setdefault("name", Path(root).resolve().name)
        return cls(paths, labels, classes, **options)

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike[str],
        root: str | os.PathLike[str] | None = None,
        *,
        path_column: str | int | None = None,
        label_column: str | int | None = None,
        **options: Any,
    ) -> Self:
        """Files named in a table of file names and labels.

        Args:
            path: comma-separated (``.tsv``: tab-separated) UTF-8 text, with or without a header.
            root: where relative file names start; by default the folder of the table.
            path_column: name (then the first line is a header) or position of the file names. By default a
                column called path, file, filename, image or the like, else the first of two.
            label_column: likewise of the labels; by default label, class, target or the like, else the
                other one of two.
            options: as for the class.

        Raises:
            ValueError: no such column, or a line without file name or label.
            FileNotFoundError: there is no such table or file; the message names the line.
        """
        paths, labels = pictures_by_table(path, root, path_column, label_column)
        options.setdefault("name", Path(path).stem)
        return cls(paths, labels, **options)

    def __len__(self) -> int:
        """Number of pictures M."""
        return len(self.items)

    def __getitem__(self, index: Any) -> Tensor:
        """Pictures for an index array of any shape: ``[...] -> [..., 3, H, W]``, floating point.

        Raises:
            ValueError: a picture cannot be decoded; the message names it.
            FileNotFoundError: a file is missing.
        """
        index = torch.as_tensor(index).cpu()
        if index.dtype == torch.bool:
            index = index.nonzero().squeeze(-1)
        flat = index.reshape(-1).long()
        if flat.numel() and (int(flat.min()) < 0 or int(flat.max()) >= len(self)):
            raise IndexError(f"rows {int(flat.min())}..{int(flat.max())} of {self.name!r}; it has 0..{len(self) - 1}.")
        rows, place = torch.unique(flat, return_inverse=True)  # episodes share pictures: decode each once
        if not len(rows):
            rows = torch.zeros(min(1, len(self)), dtype=torch.int64)  # only its shape is needed
        pictures = self._stack(rows.tolist())  # [rows, 3, H, W]
        if torch.equal(place, torch.arange(len(pictures))):
            return pictures.reshape(*index.shape, *pictures.shape[1:])
        return pictures.index_select(0, place).reshape(*index.shape, *pictures.shape[1:])

    def read(self, row: int) -> bytes:
        """A picture as stored: the bytes of its file, or a PPM file made from a picture in memory.

        Raises:
            FileNotFoundError: the file is missing.
            ValueError: the item is no picture, or no file but a URL, folder or pipe.
        """
        item = self.items[row]
        if isinstance(item, str | os.PathLike):
            try:
                return read_file(item)
            except ValueError as error:
                raise ValueError(f"cannot read {self.describe(row)}: {error}.") from None
            except OSError as error:
                raise type(error)(
                    f"cannot read {self.describe(row)}: {error.strerror}; correct or drop that row."
                ) from None
        return self._naming(row, encode_picture, item)

    def decode(self, item: int | bytes, row: int | None = None) -> Image.Image:
        """A picture, upright and RGB.

        Args:
            item: a row, or what `read` returned for it.
            row: which row the bytes belong to; only messages need it.

        Raises:
            ValueError: it cannot be decoded; the message names file and row.
        """
        if not isinstance(item, bytes):
            item, row = self.read(int(item)), int(item)
        return self._naming(row, decode_picture, item)

    def select(self, rows: Tensor | ArrayLike, name: str | None = None) -> ImageSource:
        """Some of the pictures, with the same classes."""
        index = torch.as_tensor(rows).cpu()
        index = index.nonzero().squeeze(-1) if index.dtype == torch.bool else index
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__, labels=self.labels.index_select(0, index), name=name or self.name)
        part.items = [self.items[row] for row in index.tolist()]
        return part

    def digests(self) -> list[bytes]:
        """One digest ``[M]`` of each picture as stored; files are read again only when they have changed."""
        return list(self._parallel(self._digest, range(len(self))))

    def fingerprint(self) -> str:
        """A digest of all pictures as stored, their labels, and the transform by value.

        A transform whose behaviour cannot be read counts by what it makes of test pictures.
        """
        try:
            transform = digest(self.transform)
        except UnknownIdentityError:
            transform = digest([as_input(self.transform(picture)) for picture in probe()])
        return digest(["pictures", b"".join(self.digests()), self.labels, transform])

    def _digest(self, row: int) -> bytes:
        item = self.items[row]
        if isinstance(item, (np.ndarray, Tensor)):
            return bytes.fromhex(digest_array(item))
        if not isinstance(item, (str, os.PathLike)):
            return hashlib.blake2b(self.read(row), digest_size=16).digest()
        file = os.fspath(item)
        try:
            state = file_state(file)
        except OSError:
            state = None  # reading it raises the error
        kept = self._digests.get(file)
        if kept is None or kept[0] != state:
            kept = self._digests[file] = (state, hashlib.blake2b(self.read(row), digest_size=16).digest())
        return kept[1]

    def describe(self, row: int | None) -> str:
        """A picture's file (where it has one) and row, as messages name it."""
        if row is None:
            return f"a picture of {self.name!r}"
        item = self.items[row]
        file = f"{os.fspath(item)!r} " if isinstance(item, str | os.PathLike) else ""
        return f"picture {file}(row {row} of {self.name!r})"

    def _stack(self, rows: list[int]) -> Tensor:
        if not rows:
            raise ValueError(f"{self.name!r} holds no pictures.")
        first = self._load(rows[0])
        pictures = first.new_empty((len(rows), *first.shape))
        pictures[0] = first

        def put(place: int) -> None:
            picture = self._load(rows[place])
            if picture.shape != first.shape:
                raise ValueError(
                    f"the transform makes {list(first.shape)} of {self.describe(rows[0])} but "
                    f"{list(picture.shape)} of {self.describe(rows[place])}; let it crop to one size."
                )
            pictures[place] = picture

        for _ in self._parallel(put, range(1, len(rows))):
            pass
        return pictures

    def _load(self, row: int) -> Tensor:
        picture = self.decode(row)
        return self._naming(row, lambda given: as_input(self.transform(given)), picture)

    def _parallel(self, function: Callable[[Given], Made], over: Sequence[Given]) -> Iterator[Made]:
        workers = min(self.workers or processors(), len(over))
        if workers < 2:
            yield from map(function, over)
            return
        # The pool lives only as long as the call: the source holds no threads and can be sent to a process.
        with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
            yield from pool.map(function, over)

    def _naming(self, row: int | None, function: Callable[[Given], Made], given: Given) -> Made:
        try:
            return function(given)
        except ImportError:  # a decoder is not installed, which is no fault of the file
            raise
        # Decoders of damaged files raise anything, from SyntaxError to struct.error.
        except Exception as error:
            raise ValueError(f"cannot decode {self.describe(row)}: {error}. Replace it or drop that row.") from error

    def __repr__(self) -> str:
        return f"ImageSource({self.name!r}, {len(self)} pictures, {len(self.class_names)} classes)"

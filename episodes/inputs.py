"""What a thing is: a file, a text, an image or an array; one image or many. ``docs/inputs.md`` has the rules."""

from __future__ import annotations

import operator
import os
import re
import stat
import warnings
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from episodes.labelled_files import PICTURES
from episodes.pixels import is_one_image
from episodes.precision import is_sparse, refuse_unusual

# Endings of files that hold data. A text may end in other things with a dot, such as "3.5" or "example.com".
_SUFFIXES = (
    *PICTURES, ".avif", ".csv", ".doc", ".docx", ".gz", ".heic", ".html", ".jp2", ".json", ".jsonl", ".md", ".mov",
    ".mp3", ".mp4", ".npy", ".npz", ".parquet", ".pdf", ".pt", ".svg", ".tar", ".tsv", ".txt", ".wav", ".xml", ".zip",
)  # fmt: skip
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ROOTED = re.compile(r"(~|\.{1,2})[/\\]|[/\\]|[A-Za-z]:[/\\]")
_MISSING = ("NoneType", "NAType", "NaTType")


def looks_like_path(string: str) -> bool:
    """Whether a string is written like a file, folder or URL, whatever exists.

    It is one without blanks that begins with ``scheme://``, ``~/``, ``./``, ``../``, ``/`` or a drive, or ends as
    files do (``.jpg``, ``.csv``, ...); with blanks, one that begins and ends like that.

    >>> [looks_like_path(s) for s in ("heart.jpg", "s3://bucket/x", "~/photos", "/my data/a b.png")]
    [True, True, True, True]
    >>> [looks_like_path(s) for s in ("and/or", "see file.txt for more", "see heart.jpg", "version 3.5", "/ or not")]
    [False, False, False, False, False]
    """
    begins = bool(_ROOTED.match(string) or _URL.match(string)) and len(string) > 1
    ends = string.lower().endswith(_SUFFIXES) and not string.startswith(".")
    return (begins and ends) or ((begins or ends) and not any(map(str.isspace, string)))


def item_kind(item: Any, *, on_disk: bool = True) -> str:
    """What one item is: ``"file"``, ``"text"``, ``"image"`` (PIL or array), ``"missing"`` or ``"other"``.

    Args:
        item: anything.
        on_disk: whether a string may also be a file or folder because there is one of that name.
    """
    if isinstance(item, str):
        return "file" if looks_like_path(item) or (on_disk and _exists(item)) else "text"
    if isinstance(item, os.PathLike):
        return "file"
    if isinstance(item, (np.ndarray, Tensor)) or is_pil(item):
        return "image"
    if type(item).__name__ in _MISSING or (isinstance(item, float) and item != item):
        return "missing"
    return "other"


def rows_of(X: Any, what: str = "X") -> Any:
    """A collection of items as a list, or of numbers as an array or tensor ``[M, *x]``; one item is refused.

    Args:
        X: a list or other iterable, an array, a tensor, a column (pandas, polars) or a table of one column of items,
            or of columns of numbers.
        what: what messages call it.

    Raises:
        ValueError: it is a single item (a string, an image), a mapping or holds such, a set, sparse, complex, empty,
            or a table of several columns that are not all numbers.
    """
    _refuse_one(X, what)
    if isinstance(X, Tensor) or (isinstance(X, np.ndarray) and X.dtype != object and X.dtype.kind != "U"):
        return _numbers(X, what)
    if is_table(X):
        X = _column(X, what) if hasattr(X, "columns") else X.to_list()
        if isinstance(X, np.ndarray):
            return _numbers(X, what)
    if isinstance(X, np.ndarray) and X.ndim != 1:
        raise ValueError(f"{what} is an array of {X.dtype}, {list(X.shape)}; give one item per row, [n].")
    items = list(X)
    if not items:
        raise ValueError(f"{what} is empty; give at least one item.")
    if isinstance(items[0], (list, tuple)):
        return _rows_of_numbers(items, what)
    if isinstance(items[0], Mapping):
        raise ValueError(mappings_instead(items[0], what))
    return items


def mappings_instead(item: Mapping[Any, Any], what: str) -> str:
    """The message where items are mappings, as in datasets whose rows are ``{"image": ..., "label": ...}``."""
    keys = list(item)
    listed = ", ".join(map(repr, keys[:6])) + (", ..." if len(keys) > 6 else "")
    name, chosen = (what if what.isidentifier() else "rows"), keys[0] if keys else "image"
    return (
        f"{what} holds mappings with the keys {listed}; give the items alone, such as [row[{chosen!r}] for row in "
        f"{name}], and their labels apart from them."
    )


def is_pil(item: Any) -> bool:
    """Whether it is a PIL image; PIL is not loaded to find out."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(item).__mro__)


def is_table(X: Any) -> bool:
    """Whether it is a table or a column of pandas or polars."""
    return type(X).__module__.partition(".")[0] in ("pandas", "polars")


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: it is a URL, a folder, a pipe or a device, which would block or never end.
    """
    name = os.fspath(path)
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        if isinstance(name, str) and _URL.match(name):
            raise ValueError("it is a URL; download it first and give the file") from None
        if isinstance(name, str) and name.startswith("~"):
            raise ValueError("no such file; ~ is not expanded, so give os.path.expanduser(path)") from None
        raise error if isinstance(error, OSError) else ValueError(str(error)) from None
    if stat.S_ISDIR(mode):
        raise ValueError("it is a folder; for its images give 'folder:PATH', or ImageSource.from_folder(path)")
    if not stat.S_ISREG(mode):
        raise ValueError("it is a pipe, socket or device, not a file")
    return Path(path).read_bytes()


def check_whole(name: str, value: Any, least: int = 1) -> int:
    """A setting that is a whole number.

    Raises:
        ValueError: it is no whole number, or below `least`.

    >>> check_whole("size", np.int64(8))
    8
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={value!r}; it must be a whole number, at least {least}.")
    return number


def _exists(string: str) -> bool:
    try:
        return os.path.exists(string)
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def _refuse_one(X: Any, what: str) -> None:
    if isinstance(X, (str, bytes, os.PathLike)):
        if item_kind(X) == "file" and os.path.isdir(X):
            raise ValueError(f"{what} is the folder {os.fspath(X)!r}; give its files, or 'folder:PATH' to embed.")
        raise ValueError(f"{what} is {X!r}; give a sequence of items, such as [{X!r}].")
    if is_sparse(X):
        refuse_unusual(X, what)
    if is_pil(X):
        raise ValueError(f"{what} is one image; give a sequence of items, such as [image].")
    if isinstance(X, (Mapping, Set)):
        raise ValueError(f"{what} is a {type(X).__name__}, whose items have no rows; give a list.")
    if not isinstance(X, Iterable):
        raise ValueError(f"{what} is {X!r:.80}; give a sequence of items.")


def _numbers(X: Any, what: str) -> Any:
    refuse_unusual(X, what)
    shape, is_tensor = tuple(X.shape), isinstance(X, Tensor)
    if len(shape) < 2:
        raise ValueError(f"{what} is {list(shape)}, a single row or number; give rows [n, D], such as {what}[None].")
    if not len(X):
        raise ValueError(f"{what} is empty; give at least one item.")
    if is_one_image(shape, is_tensor):
        raise ValueError(
            f"{what} is {list(shape)}, which reads as one image; give [{what}] for one, or {what}[:, None] for "
            f"{shape[0]} grey ones."
        )
    if not is_tensor and X.dtype.kind not in "fiub":
        raise ValueError(f"{what} is an array of {X.dtype}; give numbers, files, images or texts.")
    return X


def _column(table: Any, what: str) -> Any:
    names = list(table.columns)
    columns = [table[name].to_numpy() for name in names] if len(set(names)) == len(names) else []
    kinds = [column.dtype.kind for column in columns]
    if columns and all(kind in "fiub" for kind in kinds):
        return np.stack(columns, axis=1)
    if len(columns) == 1:
        return list(table[names[0]].to_list())
    if not columns:
        raise ValueError(f"{what} is a table with columns {names}; give one column, such as table['path'].")
    raise ValueError(
        f"{what} is a table of {len(names)} columns ({', '.join(map(repr, names[:5]))}) that are not all numbers; "
        f"choose the one that holds the items, such as table[{names[0]!r}]."
    )


def _rows_of_numbers(items: list[Any], what: str) -> Any:
    try:
        with warnings.catch_warnings():  # NumPy 1 warns of pictures among them, which are refused below
            warnings.simplefilter("ignore", FutureWarning)
            array = np.asarray(items)
    except ValueError:
        array = np.empty(0, dtype=object)
    if array.dtype.kind in "fiub":
        return _numbers(array, what)
    first = ", ".join(type(part).__name__ for part in items[0])
    raise ValueError(
        f"{what} holds {type(items[0]).__name__}s ({first}); give the items as one list, and labels apart from them."
    )

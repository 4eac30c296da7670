"""NumPy archives (``.npz``) that may be damaged or hostile: sizes are checked before memory is allocated."""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.files import open_regular, read_into

_EXPANSION = 200  # times the size of the file that its arrays may take, ...
_ALWAYS = 2**26  # ... and what they may take in any case
_DAMAGE = (
    ValueError, EOFError, OSError, KeyError, TypeError, NotImplementedError, RuntimeError, OverflowError,
    MemoryError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_archive(
    path: str | os.PathLike[str], names: Sequence[str] | None = None, *, bounded: bool = True
) -> dict[str, NDArray[Any]]:
    """The arrays of a ``.npz`` file, none of them Python objects.

    Args:
        path: the file.
        names: which arrays; None: all. One that is not there is left out.
        bounded: refuse an archive that unpacks to over 200 times its size, as made to exhaust memory.

    Raises:
        ValueError: it is no such archive, or an array is damaged, holds objects, or is larger than it may be;
            the message names file and array.
        FileNotFoundError: there is no such file.
    """
    where = repr(str(path))
    with os.fdopen(open_regular(path), "rb") as file:
        limit = max(_ALWAYS, _EXPANSION * os.fstat(file.fileno()).st_size)
        try:
            archive = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise ValueError(f"{where} is not an archive made by numpy.savez ({error}).") from None
        arrays = {}
        with archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name == member.filename or (names is not None and name not in names):
                    continue
                if bounded and member.file_size > limit:
                    raise ValueError(
                        f"{where}: the array {name!r} takes {member.file_size:,} bytes, more than {_EXPANSION} times "
                        "what the file has; it is damaged or made to exhaust memory."
                    )
                limit -= member.file_size
                try:
                    arrays[name] = _read(archive, member)
                except _DAMAGE as error:
                    reason = str(error) or type(error).__name__
                    raise ValueError(
                        f"array {name!r} of {where} cannot be read ({reason}); save numbers or strings (dtype=str)."
                    ) from None
    return arrays


def archive_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the arrays of a ``.npz`` file.

    Raises:
        ValueError: it is no such archive.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        except _DAMAGE as error:
            raise ValueError(f"{str(path)!r} is not an archive made by numpy.savez ({error}).") from None


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as file:
        try:
            version = np.lib.format.read_magic(file)
        except ValueError:
            raise ValueError("not an array") from None
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            raise ValueError(f"version {version} of the format is unknown")
        shape, fortran, dtype = read[version](file)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded, as they may run code")
        count = math.prod(shape)
        size = count * dtype.itemsize
        if count < 0 or size != member.file_size - file.tell():
            raise ValueError(f"its header promises {size:,} bytes, but there are {member.file_size - file.tell():,}")
        content = bytearray(size)
        if read_into(file, content) < size:
            raise ValueError("it is cut short")
        if file.read(1):  # and so the checksum of the archive is compared
            raise ValueError("it is longer than its header promises")
    array: NDArray[Any] = np.frombuffer(content, dtype=dtype, count=count)
    return array.reshape(shape[::-1]).transpose() if fortran else array.reshape(shape)

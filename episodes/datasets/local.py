"""Your own data: a folder of pictures or recordings, a table, an archive of arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.archives import archive_names, read_archive
from episodes.audio_source import AudioSource
from episodes.image_source import ImageSource
from episodes.log_mel import LogMel
from episodes.source import TensorSource
from episodes.text_source import TextSource


def folder(path: str, *, size: int = 84, workers: int | None = None) -> ImageSource:
    """Pictures in one folder per class; see `ImageSource.from_folder`.

    Args:
        path: the folder that holds the class folders.
        size: height and width in pixels where no encoder brings its own transform.
        workers: decoding threads.
    """
    return ImageSource.from_folder(path, size=size, workers=workers)


def audio(
    path: str,
    *,
    seconds: float | None = None,
    rate: int = 16000,
    bands: int = 64,
    columns: int = 64,
    workers: int | None = None,
) -> AudioSource:
    """Recordings in one folder per class, or named in a table, as log-mel pictures; see `AudioSource.from_folder`.

    Args:
        path: the folder that holds the class folders, or a table of file names and labels (``.csv``, ``.tsv``).
        seconds: keep the middle of longer recordings, put shorter ones between zeros; None: all of each.
        rate: samples a second that they are brought to.
        bands: height of a picture.
        columns: width of a picture.
        workers: decoding threads.
    """
    mel = LogMel(rate=rate, bands=bands, columns=columns)
    read = AudioSource.from_csv if path.lower().endswith((".csv", ".tsv")) else AudioSource.from_folder
    return read(path, seconds=seconds, mel=mel, workers=workers)


def csv(
    path: str,
    *,
    root: str | None = None,
    path_column: str | int | None = None,
    label_column: str | int | None = None,
    size: int = 84,
    workers: int | None = None,
) -> ImageSource:
    """Pictures named in a table; see `ImageSource.from_csv`.

    Args:
        path: the table of file names and labels.
        root: where relative file names start; by default the folder of the table.
        path_column: name or position of the file names.
        label_column: name or position of the labels.
        size: height and width in pixels where no encoder brings its own transform.
        workers: decoding threads.
    """
    return ImageSource.from_csv(
        path, root, path_column=path_column, label_column=label_column, size=size, workers=workers
    )


def text_csv(path: str, *, text_column: str | int | None = None, label_column: str | int | None = None) -> TextSource:
    """Texts from a table; see `TextSource.from_csv`.

    Args:
        path: the table of texts and labels.
        text_column: name or position of the texts.
        label_column: name or position of the labels.
    """
    return TextSource.from_csv(path, text_column=text_column, label_column=label_column)


def arrays(path: str, *, rows: str = "X", labels: str = "y", class_names: str = "class_names") -> TensorSource:
    """Features or pictures from a NumPy archive (``.npz``) without Python objects in it.

    Args:
        path: the archive.
        rows: key of the rows: features ``[M, D]``, or pictures ``[M, H, W]``, ``[M, C, H, W]`` or
            ``[M, H, W, C]`` with C of 1 or 3.
        labels: key of the labels ``[M]``: integers or strings.
        class_names: key of the class names ``[C]``; where it is absent, the distinct labels are the names.

    Raises:
        ValueError: a key is missing, or the file is no such archive.
        FileNotFoundError: there is no such file.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {path!r}; give an archive made by numpy.savez.")
    with file.open("rb") as opened:
        if opened.read(6) == b"\x93NUMPY":
            raise ValueError(f"{path!r} holds one array; save rows and labels: numpy.savez(path, X=rows, y=labels).")
    there = archive_names(file)
    for key in (rows, labels):
        if key not in there:
            raise ValueError(
                f"{path!r} has no array {key!r}; it has {', '.join(there)}. "
                "Say which are meant with rows=, labels=, class_names=."
            )
    held = read_archive(file, (rows, labels, class_names), bounded=False)
    names = held.get(class_names)
    x, y = _channels_first(held[rows]), held[labels]
    return TensorSource(x, y, None if names is None else [str(name) for name in names], name=file.stem)


def _channels_first(x: NDArray[Any]) -> NDArray[Any]:
    """Pictures as ``[M, C, H, W]``; anything else as it is."""
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    return x

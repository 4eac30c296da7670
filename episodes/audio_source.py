"""`AudioSource`: labelled recordings, as pictures of their frequencies or as the samples that speech encoders take."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from episodes.identity import UnknownIdentityError, digest
from episodes.image_source import ImageSource
from episodes.inputs import check_whole
from episodes.labelled_files import RECORDINGS
from episodes.log_mel import LogMel
from episodes.pictures import probe
from episodes.pixels import as_input
from episodes.sounds import array_bytes, as_mel_picture, pack

if TYPE_CHECKING:
    from PIL import Image

    Recording = str | os.PathLike[str] | NDArray[Any] | Tensor


class AudioSource(ImageSource):
    """Recordings by index, from files or from memory, as log-mel pictures made in parallel when they are requested.

    The pictures are an `ImageSource`'s in all respects, so any encoder of images embeds them; a row's key in the cache
    covers the file's bytes, `mel` and `seconds`. An encoder of sounds is given the samples (`waves`).
    ``from_folder`` and ``from_csv`` find recordings as those of `ImageSource` find pictures.

    Args:
        items: ``[M]``: file names (WAV, FLAC, OGG, MP3, AIFF; by soundfile), or arrays and tensors of samples ``[n]``
            or ``[n, channels]``, floats in -1..1 or integers of 16 or 32 bits; also mixed. Channels are averaged.
        labels: ``[M]``: integers or strings.
        class_names: one name per class; by default the distinct labels.
        rate: samples a second of the arrays; files say theirs.
        seconds: keep the middle of longer recordings and put shorter ones between zeros; None: all of each.
        mel: how a recording becomes a picture; by default `LogMel()`: 64 bands up to 8 kHz, 64 columns.
        transform: PIL image -> tensor ``[3, H, W]``; by default the pictures' values in 0..1.
        workers: decoding threads; by default one per available processor.
        name: what messages and results call it.

    Raises:
        ValueError: labels do not fit the items, or arrays have no `rate`.

    >>> tones = [np.sin(2 * np.pi * hertz * np.arange(8000) / 8000) for hertz in (200, 400, 3000)]
    >>> source = AudioSource(tones, ["low", "low", "high"], rate=8000)
    >>> source[torch.tensor([[0, 1], [2, 1]])].shape
    torch.Size([2, 2, 3, 64, 64])
    """

    files = RECORDINGS

    def __init__(
        self,
        items: Sequence[Recording],
        labels: Tensor | ArrayLike | Sequence[Any],
        class_names: Sequence[str] | None = None,
        *,
        rate: int | None = None,
        seconds: float | None = None,
        mel: LogMel | None = None,
        transform: Callable[[Image.Image], Tensor] | None = None,
        workers: int | None = None,
        name: str = "recordings",
    ) -> None:
        given: Any = list(items) if isinstance(items, (np.ndarray, Tensor)) and items.ndim > 1 else items
        super().__init__(given, labels, class_names, transform=transform or values_of, workers=workers, name=name)
        self.rate = None if rate is None else check_whole("rate", rate)
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ValueError(f"seconds={seconds}; it must be above 0, or None for all of each recording.")
        self.seconds = None if seconds is None else float(seconds)
        self.mel: LogMel | None = mel or LogMel()
        self.wave_rate = self.mel.rate
        arrays = [row for row, item in enumerate(self.items) if not isinstance(item, (str, os.PathLike))]
        if arrays and rate is None:
            raise ValueError(
                f"{self.describe(arrays[0])} is an array; say with rate= how many samples a second it has."
            )

    def waves(self, rate: int) -> WaveSource:
        """The same recordings as samples at a rate, for encoders of sounds."""
        waves = object.__new__(WaveSource)
        waves.__dict__.update(self.__dict__, mel=None, wave_rate=check_whole("rate", rate), _digests={})
        return waves

    @property
    def settings(self) -> str:
        """How recordings are read, in words; empty where it is the default."""
        changed = [] if self.mel in (None, LogMel()) else [repr(self.mel)]
        return ", ".join(changed + ([] if self.seconds is None else [f"seconds={self.seconds:g}"]))

    def read(self, row: int) -> bytes:
        """A recording as stored, after what is to be made of it; see `episodes.sounds`.

        Raises:
            FileNotFoundError: the file is missing.
            ValueError: the item is no recording, or no file but a URL, folder or pipe.
        """
        item = self.items[row]
        if isinstance(item, (str, os.PathLike)):
            recording = super().read(row)
        else:
            recording = self._naming(row, lambda samples: array_bytes(samples, self.rate or 1), item)
        return pack(recording, self.mel, self.seconds, self.wave_rate)

    def decode(self, item: int | bytes, row: int | None = None) -> Image.Image:
        """The picture of a recording.

        Args:
            item: a row, or what `read` returned for it.
            row: which row the bytes belong to; only messages need it.

        Raises:
            ValueError: there is none; the message names file and row.
        """
        if not isinstance(item, bytes):
            item, row = self.read(int(item)), int(item)
        return self._naming(row, as_mel_picture, item)

    def fingerprint(self) -> str:
        """A digest of all recordings as stored, how they are read, their labels, and the transform by value."""
        try:
            transform = digest(self.transform)
        except UnknownIdentityError:
            transform = digest([as_input(self.transform(picture)) for picture in probe()])
        how = [repr(self.mel), self.seconds, self.wave_rate, self.rate]
        return digest(["recordings", b"".join(self.digests()), self.labels, transform, how])

    def describe(self, row: int | None) -> str:
        """A recording's file (where it has one) and row, as messages name it."""
        if row is None:
            return f"a recording of {self.name!r}"
        item = self.items[row]
        file = f"{os.fspath(item)!r} " if isinstance(item, str | os.PathLike) else ""
        return f"recording {file}(row {row} of {self.name!r})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self)} recordings, {len(self.class_names)} classes)"


class WaveSource(AudioSource):
    """Recordings as samples, one channel at one rate and of any length; `AudioSource.waves` makes it."""

    kind = "sounds"

    def __getitem__(self, index: Any) -> NoReturn:
        """Recordings of several lengths are no table.

        Raises:
            TypeError: always; it says what to do.
        """
        raise TypeError(
            f"{self.name!r} holds recordings of any length, which learners cannot compute with; embed them first: "
            "source = fewshot.embed(source, encoder)."
        )


def values_of(picture: Image.Image) -> Tensor:
    """A picture's values in 0..1 ``[3, H, W]``, at the size that it has."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div_(255)

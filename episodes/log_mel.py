"""`LogMel`: a recording as a picture of its frequencies over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.inputs import check_whole

_FRAMES_AT_ONCE = 4096  # of the transform: some 20 MB, however long a recording is


@dataclass(frozen=True)
class LogMel:
    """Loudness in bands of the mel scale over time, as a picture with values in 0..1.

    Frame t is the signal around sample ``t hop`` (zeros beyond its ends) times a Hann window. With ``X`` its Fourier
    transform, band b of frame t has the power ``P = sum_f H[b, f] |X[t, f]|^2``, where ``H`` are triangles of height
    one, equally spaced on the mel scale ``m(f) = 2595 log10(1 + f / 700)``. In decibels below the loudest,
    ``d = 10 log10(P / max P)``, the value is ``max(0, 1 + d / span)``: a louder recording of the same sound is the same
    picture. The frames are averaged to `columns`: column j is the mean of the frames from ``floor(j T / columns)`` up
    to, but without, ``ceil((j + 1) T / columns)``, so that recordings of any length become pictures of one size.

    Args:
        rate: samples a second that recordings are brought to.
        window: samples of a frame.
        hop: samples from a frame to the next.
        bands: of the mel scale, the height of the picture.
        columns: width of the picture; None: one per frame, so that longer recordings are wider.
        low: frequency in Hz at which the bands begin.
        high: at which they end; None: half the rate.
        span: decibels from the loudest value, 1, down to 0.

    Raises:
        ValueError: a setting is out of range, or a band is so narrow that it holds no frequency.

    Reference: Davis, Mermelstein, "Comparison of parametric representations for monosyllabic word recognition in
    continuously spoken sentences", IEEE Transactions on Acoustics, Speech and Signal Processing 1980; the mel scale as
    O'Shaughnessy, "Speech communication: human and machine", 1987 has it.

    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 16000)
    >>> picture = LogMel(bands=32, columns=20)(tone)
    >>> picture.shape, int(picture[:, 10].argmax()), float(picture.max())
    ((32, 20), 11, 1.0)
    """

    rate: int = 16000
    window: int = 512
    hop: int = 160
    bands: int = 64
    columns: int | None = 64
    low: float = 0.0
    high: float | None = None
    span: float = 80.0

    def __post_init__(self) -> None:
        for name in ("rate", "window", "hop", "bands"):
            check_whole(name, getattr(self, name), 2 if name == "window" else 1)
        if self.columns is not None:
            check_whole("columns", self.columns)
        if not 0 <= self.low < (self.high or self.rate / 2) <= self.rate / 2:
            raise ValueError(
                f"low={self.low}, high={self.high}; they must be 0 <= low < high <= rate / 2 = {self.rate / 2:g} Hz."
            )
        if not self.span > 0:
            raise ValueError(f"span={self.span}; it must be above 0 decibels.")
        if not self.filters().any(1).all():
            raise ValueError(
                f"bands={self.bands} between {self.low:g} and {self.high or self.rate / 2:g} Hz: some are narrower "
                f"than rate / window = {self.rate / self.window:.1f} Hz, so empty; take fewer bands or a longer window."
            )

    def __call__(self, samples: Any) -> NDArray[np.float64]:
        """A signal of one channel at `rate` ``[n]`` as values in 0..1 ``[bands, columns]``, low frequencies first.

        Raises:
            ValueError: it is shorter than a window, not finite, or silent.
        """
        signal = np.asarray(samples, np.float64)
        if signal.ndim != 1 or not len(signal):
            raise ValueError(f"it is {list(signal.shape)}; a signal is [n] samples, at least one")
        if not np.isfinite(signal).all():
            raise ValueError("a sample is NaN or infinite")
        if len(signal) < self.window:
            raise ValueError(
                f"it lasts {len(signal) / self.rate:.4g} s, less than one window of {self.window / self.rate:.4g} s"
            )
        power = self.power(signal)  # [bands, T]
        loudest = power.max()
        if signal.min() == signal.max() or loudest <= 0:
            raise ValueError("it is silent: all of its samples are the same")
        decibels = 10 * np.log10(np.maximum(power, 1e-300) / loudest)
        return averaged(np.maximum(0, 1 + decibels / self.span), self.columns)

    def power(self, signal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Power in each band and frame ``[bands, T]``, with ``T = 1 + n // hop``."""
        half = self.window // 2
        padded = np.pad(signal, (half, self.window - half))
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.window)[:: self.hop]
        frames = frames[: 1 + len(signal) // self.hop]  # [T, window]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        filters, power = self.filters(), np.empty((self.bands, len(frames)))
        for first in range(0, len(frames), _FRAMES_AT_ONCE):
            spectrum = np.fft.rfft(frames[first : first + _FRAMES_AT_ONCE] * hann)  # [t, F]
            power[:, first : first + len(spectrum)] = filters @ (spectrum.real**2 + spectrum.imag**2).T
        return power

    def filters(self) -> NDArray[np.float64]:
        """The triangles ``H [bands, 1 + window // 2]``; not to be written to."""
        return _triangles(self.rate, self.window, self.bands, float(self.low), float(self.high or self.rate / 2))


def averaged(frames: NDArray[np.float64], columns: int | None) -> NDArray[np.float64]:
    """Frames ``[B, T]`` as so many columns ``[B, columns]``, each a mean of neighbouring frames.

    >>> averaged(np.array([[1.0, 2.0, 3.0]]), 2), averaged(np.array([[1.0, 2.0]]), 3)
    (array([[1.5, 2.5]]), array([[1. , 1.5, 2. ]]))
    """
    if columns is None:
        return frames
    length, place = frames.shape[1], np.arange(columns)
    first, last = place * length // columns, -(-(place + 1) * length // columns)
    sums = np.concatenate([np.zeros((len(frames), 1)), frames.cumsum(1)], axis=1)  # [B, T + 1]
    means: NDArray[np.float64] = (sums[:, last] - sums[:, first]) / (last - first)
    return means


@lru_cache(maxsize=16)
def _triangles(rate: int, window: int, bands: int, low: float, high: float) -> NDArray[np.float64]:
    first, last = (2595 * math.log10(1 + hertz / 700) for hertz in (low, high))
    corners = 700 * (10 ** (np.linspace(first, last, bands + 2) / 2595) - 1)  # [bands + 2]
    frequencies = np.arange(1 + window // 2) * (rate / window)  # [F]
    rising = (frequencies - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - frequencies) / np.diff(corners)[1:, None]
    triangles: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    triangles.setflags(write=False)
    return triangles

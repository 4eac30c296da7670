"""One recording: from a file's bytes or an array to samples, to one channel at one rate, to a picture.

A row of an `AudioSource` is stored as its recording and, before that, what is to be made of it, so that its content
alone tells it from any other: ``RECORDING {"seconds": null, ...}``, a new line, and the bytes of a file or an array.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from episodes.inputs import check_whole
from episodes.log_mel import LogMel

if TYPE_CHECKING:
    from PIL import Image

_RECORDING = b"RECORDING {"
_ARRAY = b"SAMPLES "
_STREAMED = 0x7FFF0000  # about what programs write that do not know the length in advance
_INSTALL = 'reading sound files is an extra: pip install "fewshot[audio]" (soundfile); arrays need nothing'


def pack(recording: bytes, mel: LogMel | None, seconds: float | None, rate: int) -> bytes:
    """A recording and what is to be made of it: a picture by `mel`, or, without that, samples at `rate`."""
    making = {"mel": None if mel is None else asdict(mel), "rate": rate, "seconds": seconds}
    return b"RECORDING " + json.dumps(making, sort_keys=True).encode() + b"\n" + recording


def is_recording(content: bytes) -> bool:
    """Whether bytes are what `pack` makes."""
    return content.startswith(_RECORDING)


def array_bytes(samples: Any, rate: int) -> bytes:
    """Samples ``[n]`` or ``[n, channels]`` in memory as bytes; equal samples give equal bytes on every machine.

    Integers are scaled as files are, 16 bits by 1 / 32768.

    Raises:
        ValueError: another shape, or values that are no real numbers.
    """
    array = np.asarray(samples.detach().cpu() if isinstance(samples, Tensor) else samples)
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"it is an array of shape {list(array.shape)}; samples are [n], or [n, channels]")
    if array.ndim == 2 and array.shape[1] > 32 >= array.shape[0]:
        raise ValueError(f"it is {list(array.shape)}, so {array.shape[1]} channels; give [n, channels], or its .T")
    if array.dtype.kind == "i" and array.dtype.itemsize in (2, 4):
        array = array / float(1 << (8 * array.dtype.itemsize - 1))
    elif array.dtype.kind != "f":
        raise ValueError(f"it is an array of {array.dtype}; samples are floats in -1..1, or integers of 16 or 32 bits")
    array = np.ascontiguousarray(array.reshape(len(array), -1), dtype="<f4")
    return _ARRAY + b"%d %d\n" % (rate, array.shape[1]) + array.tobytes()


def samples_of(recording: bytes) -> tuple[NDArray[np.float32], int]:
    """Samples ``[n, channels]`` of a file's bytes, or of what `array_bytes` made, and how many there are a second.

    Raises:
        ValueError: it is no sound, damaged, or empty.
        ImportError: soundfile is missing.
    """
    if not recording:
        raise ValueError("the file is empty")
    if recording.startswith(_ARRAY):
        head, _, body = recording.partition(b"\n")
        rate, channels = (int(word) for word in head.split()[1:])
        return np.frombuffer(body, "<f4").astype(np.float32, copy=False).reshape(-1, channels), rate
    try:
        import soundfile
    except ImportError:
        raise ImportError(_INSTALL) from None
    order = {b"RIFF": "little", b"FORM": "big"}.get(recording[:4])
    promised = 8 + int.from_bytes(recording[4:8], "big" if order == "big" else "little") if order else 0
    if len(recording) + 1 < promised < _STREAMED:  # which libsndfile would read without a word; padding may lack
        raise ValueError(f"it is cut off: {len(recording):,} of {promised:,} bytes are there")
    try:
        samples, rate = soundfile.read(io.BytesIO(recording), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        reason = str(error).partition(": ")[2] or str(error)
        raise ValueError(f"its bytes are no sound that can be read ({reason.rstrip('.')})") from None
    if not len(samples):
        raise ValueError("it holds no samples")
    return samples, int(rate)


def as_wave(content: bytes) -> NDArray[np.float64]:
    """The recording in a row of an `AudioSource`: one channel, at the rate and of the length asked for ``[n]``.

    Channels are averaged, and samples brought to the rate by a polyphase filter (`scipy.signal.resample_poly`).

    Raises:
        ValueError: it is no sound, or a sample is not finite.
    """
    return _wave(*_unpack(content))


def as_mel_picture(content: bytes) -> Image.Image:
    """The picture of a row of an `AudioSource`, grey levels in RGB, high frequencies above.

    Raises:
        ValueError: it is no sound, or one of which there is no picture: silent, or shorter than a window.
    """
    from PIL import Image

    making, recording = _unpack(content)
    if making["mel"] is None:
        raise ValueError("it is a recording of which no picture was asked for")
    levels = np.rint(LogMel(**making["mel"])(_wave(making, recording)) * 255).astype(np.uint8)[::-1]
    return Image.fromarray(np.ascontiguousarray(levels)).convert("RGB")


def resampled(signal: NDArray[np.float64], rate: int, wanted: int) -> NDArray[np.float64]:
    """A signal ``[n]`` of `rate` samples a second as one of `wanted`."""
    if rate == wanted:
        return signal
    from scipy.signal import resample_poly

    common = gcd(check_whole("rate", rate), check_whole("rate", wanted))
    made: NDArray[np.float64] = resample_poly(signal, wanted // common, rate // common)
    return made


def fitted(signal: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """The middle ``[length]`` of a signal ``[n]``, or the signal in the middle of zeros.

    >>> fitted(np.array([1.0, 2.0, 3.0]), 1), fitted(np.array([1.0, 2.0]), 4)
    (array([2.]), array([0., 1., 2., 0.]))
    """
    spare = length - len(signal)
    if spare < 0:
        return signal[-spare // 2 : -spare // 2 + length]
    return np.pad(signal, (spare // 2, spare - spare // 2))


def _unpack(content: bytes) -> tuple[dict[str, Any], bytes]:
    head, _, recording = content.partition(b"\n")
    making: dict[str, Any] = json.loads(head[len(b"RECORDING ") :])
    return making, recording


def _wave(making: dict[str, Any], recording: bytes) -> NDArray[np.float64]:
    samples, rate = samples_of(recording)
    if not np.isfinite(samples).all():
        raise ValueError("a sample is NaN or infinite")
    if samples.min() == samples.max():
        raise ValueError("it is silent: all of its samples are the same")
    wanted, seconds = making["rate"], making["seconds"]
    signal = samples.mean(1, dtype=np.float64)  # [n]
    if seconds is None:
        return resampled(signal, rate, wanted)
    around = int(np.ceil((seconds + 0.1) * rate))  # hours are not resampled for seconds; the filter reaches less far
    if len(signal) > around:
        signal = fitted(signal, around)
    return fitted(resampled(signal, rate, wanted), round(seconds * wanted))

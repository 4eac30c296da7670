"""JPEGs decoded, resized and cropped by torchvision on the device that computes: nvJPEG on a GPU, libjpeg on a CPU.

The pixels are those of `Preprocess.pixels` of the whole picture up to rounding, which differs between the decoders of
GPUs and CPUs, and from Pillow's: the identity of rows names the decoder (`DeviceDecoder.kind`).
"""

from __future__ import annotations

import io
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from episodes.jpeg import is_ordinary, jpeg_frame
from episodes.pictures import orientation_of
from fewshot.encoders.preprocess import Preprocess, is_plain

_LOG = logging.getLogger("fewshot")
METHODS = ("bilinear", "bicubic")  # by which torch resizes as Pillow does
DEVICES = ("cpu", "cuda")
BATCHED = ("cuda",)  # a processor decodes no faster by having several pictures at a time
_TOGETHER = 2**28  # bytes of pixels that are decoded at a time
_TURNED = {  # EXIF orientation -> (rows and columns exchanged, axes mirrored after that)
    1: (False, ()), 2: (False, (-1,)), 3: (False, (-2, -1)), 4: (False, (-2,)),
    5: (True, ()), 6: (True, (-1,)), 7: (True, (-2, -1)), 8: (True, (-2,)),
}  # fmt: skip


class DeviceDecoder:
    """JPEG files as pixels ``[n, 3, size, size]``, uint8, on a device.

    On a GPU it works in a stream of its own, so that the forward pass goes on meanwhile.

    Args:
        transform: how they are resized and cropped.
        device: a CPU or a GPU for which `why_not` has no objection.

    Attributes:
        kind: of the decoder, for the identity of rows: ``"torchvision cpu"`` or ``"torchvision cuda"``.
        batched: whether it is given many pictures at a time, by one thread.
    """

    def __init__(self, transform: Preprocess, device: torch.device) -> None:
        self.transform, self.device = transform, device
        self.kind, self.batched = f"torchvision {device.type}", device.type in BATCHED
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None

    def takes(self, content: bytes | Tensor) -> bool:
        """Whether a picture, as stored, is a JPEG that all decoders read alike; Pillow reads the others."""
        from PIL import Image

        frame = jpeg_frame(content) if isinstance(content, bytes) else None
        if frame is None or not isinstance(content, bytes):
            return False
        most = Image.MAX_IMAGE_PIXELS  # beyond it Pillow warns or refuses
        return (most is None or frame.width * frame.height <= most) and is_ordinary(content, frame)

    def working(self) -> AbstractContextManager[Any]:
        """In the decoder's stream."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def __call__(self, files: Mapping[int, bytes]) -> Iterator[tuple[list[int], Tensor]]:
        """JPEGs that it takes, by number, as groups: their numbers and pixels, which are there once it has `settled`.

        A file that torchvision refuses is in no group.
        """
        for part in self._parts(files):
            with self.working():
                self.settled()  # nvJPEG writes into memory that our stream has freed, without waiting for our stream
                pictures = self._decoded({number: files[number] for number in part})
                groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
                for number, picture in pictures.items():
                    frame = jpeg_frame(files[number])
                    turn = orientation_of(files[number]) if frame is not None and frame.tagged else 1
                    groups[(picture.shape, turn)].append(number)
                found = [
                    (numbers, self._fitted([pictures[number] for number in numbers], key[-1]))
                    for key, numbers in groups.items()
                ]
            yield from found

    def settled(self) -> None:
        """Wait for what was begun in the decoder's stream."""
        if self._stream is not None:
            self._stream.synchronize()

    def on_device(self, pixels: Sequence[Tensor]) -> Tensor:
        """Pixels that were made elsewhere ``[n, 3, size, size]``."""
        stacked = torch.stack(list(pixels))
        if self._stream is None:
            return stacked
        return stacked.pin_memory().to(self.device, non_blocking=True)

    def hand_over(self, pixels: Tensor) -> Tensor:
        """Settled pixels, for use in the current stream of the calling thread."""
        if self._stream is not None:
            pixels.record_stream(torch.cuda.current_stream(self.device))
        return pixels

    def _parts(self, files: Mapping[int, bytes]) -> Iterator[list[int]]:
        part: list[int] = []
        size = 0
        for number, data in files.items():
            part.append(number)
            frame = jpeg_frame(data)
            size += 3 * frame.width * frame.height if frame is not None else 0
            if size >= _TOGETHER or not self.batched:
                yield part
                part, size = [], 0
        if part:
            yield part

    def _decoded(self, files: Mapping[int, bytes]) -> dict[int, Tensor]:
        """Pictures ``[3, H, W]``; where torchvision refuses, those that it does not refuse alone."""
        try:
            return dict(zip(files, _decode(list(files.values()), self.device), strict=True))
        except RuntimeError:  # of any of them
            if len(files) == 1:
                return {}
            return {n: p for number, data in files.items() for n, p in self._decoded({number: data}).items()}

    def _fitted(self, pictures: Sequence[Tensor], turn: int) -> Tensor:
        """Pictures of one size, resized, turned upright and cropped ``[n, 3, size, size]``."""
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional

        exchanged, mirrored = _TURNED[turn]
        batch = pictures[0].unsqueeze(0) if len(pictures) == 1 else torch.stack(list(pictures))  # [n, 3, H, W]
        height, width = batch.shape[-2:]
        columns, rows = self.transform.target(*((height, width) if exchanged else (width, height)))
        shape = [columns, rows] if exchanged else [rows, columns]
        if [height, width] != shape:
            method = InterpolationMode(self.transform.interpolation)
            batch = functional.resize(batch, shape, interpolation=method, antialias=True)
        if exchanged:
            batch = batch.transpose(-2, -1)
        if mirrored:
            batch = batch.flip(mirrored)
        left, top = self.transform.corner(columns, rows)
        size = self.transform.size
        edges = (-left, left + size - columns, -top, top + size - rows)  # outside is black
        return torch.nn.functional.pad(batch, edges)


def device_decoder(encoder: Any, device: torch.device) -> DeviceDecoder | None:
    """What decodes for an encoder that asks for ``decoding="device"``; None: Pillow does, as with ``"full"``.

    Where the encoder asks and cannot have it, a warning says why, once.
    """
    if encoder.decoding != "device":
        return None
    objection = why_not(encoder.transform, device)
    if objection is not None:
        _say(f"{encoder.name} is given pictures that Pillow decodes at full size, not decoding='device': {objection}")
        return None
    if device.type == "cpu":
        _say("decoding='device' on a CPU: torchvision decodes at full size; of large photographs 'reduced' is faster.")
    return DeviceDecoder(encoder.transform, device)


def why_not(transform: Any, device: torch.device) -> str | None:
    """The reason for which torchvision cannot decode for a transform on a device, or None."""
    if not is_plain(transform):
        return "its transform is no fewshot.encoders.Preprocess, and may look at the picture in ways of its own."
    if transform.interpolation not in METHODS:
        return f"its interpolation is {transform.interpolation!r}; torch resizes by {' and '.join(METHODS)}."
    if device.type not in DEVICES:
        return f"torchvision has no decoder for {device.type!r}."
    try:
        _try(device)
    except (ImportError, OSError, RuntimeError, Warning) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"torchvision cannot decode on {str(device)!r} ({first.rstrip('.')})."
    return None


@lru_cache
def _try(device: torch.device) -> None:
    """Decode a small picture; errors are not kept, so that another call tries again."""
    from PIL import Image

    if torch.version.cuda is not None and device.type == "cuda":
        release = tuple(int(number) for number in torch.version.cuda.split(".")[:2])
        if release < (11, 6):
            raise RuntimeError(f"nvJPEG of CUDA {torch.version.cuda} leaks memory; 11.6 does not")
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    _decode([file.getvalue()], device)


@lru_cache
def _say(what: str) -> None:
    _LOG.warning("%s", what)


def _decode(files: Sequence[bytes], device: torch.device) -> list[Tensor]:
    """JPEGs as RGB ``[3, H, W]``, each as it lies in its file."""
    from torchvision.io import ImageReadMode, decode_jpeg

    given = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
    found: list[Tensor] = decode_jpeg(given, mode=ImageReadMode.RGB, device=device)
    return found

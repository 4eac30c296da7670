"""What the header of a JPEG says, read in microseconds and without decoding anything."""

from __future__ import annotations

from typing import NamedTuple

_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_TAGS, _ADOBE = 0xE1, 0xEE  # segments of EXIF or XMP, and of Adobe's programs
_RGB = b"RGB"  # names of channels that are no YCbCr


class Frame(NamedTuple):
    """What is coded, and where.

    Attributes:
        width: in pixels.
        height: in pixels.
        channels: the name of each, a byte.
        converted: what a segment of Adobe's says of their colours (0: as they are, 1: YCbCr, 2: YCCK), or None.
        tagged: whether segments may hold an orientation.
        start: the byte at which the frame begins.
    """

    width: int
    height: int
    channels: bytes
    converted: int | None
    tagged: bool
    start: int


def jpeg_frame(data: bytes) -> Frame | None:
    """The frame of a JPEG; None of other formats, and of kinds that few decoders know (lossless, arithmetic coding)."""
    if data[:3] != b"\xff\xd8\xff":
        return None
    at, converted, tagged = 2, None, False
    while data[at : at + 1] == b"\xff" and at + 9 <= len(data):
        marker = data[at + 1]
        if marker == 0xFF:  # padding before a marker
            at += 1
        elif marker in _FRAMES:
            height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
            count = data[at + 9] if at + 9 < len(data) else 0
            channels = data[at + 10 : at + 10 + 3 * count : 3]
            return Frame(width, height, channels, converted, tagged, at) if width and height else None
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker in (0xD9, 0xDA):
            return None  # lossless and the like; or the pixels begin without a frame
        else:
            tagged |= marker == _TAGS
            if marker == _ADOBE and data[at + 4 : at + 9] == b"Adobe" and at + 15 < len(data):
                converted = data[at + 15]
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG declares; None for other formats, and for kinds that are decoded at full size only.

    Read from the frame header alone, in some microseconds.
    """
    frame = jpeg_frame(data)
    return None if frame is None else (frame.width, frame.height)


def is_ordinary(data: bytes, frame: Frame) -> bool:
    """Whether every decoder must make the same picture of a JPEG: whole, in three channels, which are YCbCr."""
    if len(frame.channels) != 3 or frame.channels == _RGB or frame.converted not in (None, 1):
        return False
    return data.find(b"\xff\xd9", frame.start) >= 0  # its end; a thumbnail's lies before the frame

"""Headers of JPEGs: size, channels, and which pictures every decoder reads alike."""

from __future__ import annotations

import io
from typing import Any

import pytest
from picture_examples import jpeg, photograph
from PIL import Image

from episodes.jpeg import is_ordinary, jpeg_frame, jpeg_size


class TestSize:
    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + bytes(40), "comment": b"x"}])
    @pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
    def test_is_read_from_the_header(self, mode: str, options: dict[str, Any]) -> None:
        assert jpeg_size(jpeg(photograph(70, 40).convert(mode), **options)) == (70, 40)

    def test_of_anything_else_is_unknown(self) -> None:
        png = io.BytesIO()
        photograph(8, 8).save(png, "PNG")
        whole = jpeg(photograph(8, 8))
        for data in (b"", b"\xff\xd8\xff", png.getvalue(), whole[:20], b"\xff\xd8\xff\xc3" + whole[4:], bytes(99)):
            assert jpeg_size(data) is None


class TestOrdinary:
    @staticmethod
    def ordinary(data: bytes) -> bool:
        frame = jpeg_frame(data)
        assert frame is not None
        return is_ordinary(data, frame)

    @pytest.mark.parametrize(
        "options", [{}, {"progressive": True}, {"subsampling": 0}, {"exif": b"Exif\0\0" + bytes(9)}]
    )
    def test_colour_photographs_are(self, options: dict[str, Any]) -> None:
        data = jpeg(photograph(70, 40), **options)
        assert self.ordinary(data) and self.ordinary(data + b"what a telephone adds")

    def test_other_channels_are_not(self) -> None:
        assert not self.ordinary(jpeg(photograph(70, 40).convert("L")))
        assert not self.ordinary(jpeg(photograph(70, 40).convert("CMYK")))
        data = jpeg(photograph(70, 40))
        frame = jpeg_frame(data)
        assert frame is not None and frame.channels == b"\1\2\3" and frame.converted is None and not frame.tagged
        named = bytearray(data)
        for channel, name in enumerate(b"RGB"):
            named[frame.start + 10 + 3 * channel] = name
        assert not self.ordinary(bytes(named))

    @pytest.mark.parametrize(("converted", "expected"), [(0, False), (1, True), (2, False)])
    def test_what_adobe_says_counts(self, converted: int, expected: bool) -> None:
        data = jpeg(photograph(70, 40))
        said = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([converted])
        assert self.ordinary(data[:2] + said + data[2:]) is expected

    def test_a_part_is_not_whatever_its_thumbnail(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        data = jpeg(photograph(70, 40), exif=exif.tobytes() + jpeg(photograph(9, 9)))
        assert self.ordinary(data)
        assert not self.ordinary(data[: len(data) // 2 + 300])
        frame = jpeg_frame(data)
        assert frame is not None and frame.tagged

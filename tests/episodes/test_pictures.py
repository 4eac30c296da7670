"""One picture: every mode and depth becomes RGB, every form in memory the same bytes."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_examples import noise, save
from PIL import Image

from episodes import ImageSource
from episodes.pictures import CentreCrop, decode_picture, encode_picture, is_deep


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :15] = 255  # the top left quarter is white
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright),
        7: upright.transpose(1, 0, 2)[::-1, ::-1], 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "turned.png", np.ascontiguousarray(stored), exif=exif)
    np.testing.assert_array_equal(np.asarray(ImageSource([path], [0]).decode(0)), upright)
    np.testing.assert_array_equal(np.asarray(ImageSource([Image.open(path)], [0]).decode(0)), upright)
    turned = decode_picture(path.read_bytes())  # given on as a picture, it is not turned a second time
    np.testing.assert_array_equal(np.asarray(ImageSource([turned], [0]).decode(0)), upright)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    image = (
        Image.fromarray(ramp.astype(np.uint16) * 256 + 99) if mode == "I;16" else Image.fromarray(ramp).convert(mode)
    )
    assert image.mode == mode
    file = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    if mode != "YCbCr":  # Pillow before 13 cannot read the YCbCr file that it writes
        image.save(file)
    decoded = ImageSource([image if mode == "YCbCr" else file], [0]).decode(0)
    assert decoded.mode == "RGB"
    if mode == "I;16":  # PIL alone would turn nearly all of it white
        np.testing.assert_array_equal(np.asarray(decoded)[:, :, 0], ramp)
    elif mode != "1":
        assert np.abs(np.asarray(decoded)[:, :, 0].astype(int) - ramp).max() <= 2


def test_palette_with_transparency_raises_no_warning(tmp_path: Path) -> None:
    image = Image.fromarray(noise()).quantize(16)
    image.save(tmp_path / "p.png", transparency=bytes(range(16)))
    assert ImageSource([tmp_path / "p.png"], [0]).decode(0).size == (40, 30)


def test_centre_crop_takes_the_middle() -> None:
    for height, width in ((10, 30), (30, 10), (10, 10)):
        image = Image.fromarray(noise(height, width))
        small = image.resize((width // 2, height // 2), Image.Resampling.BICUBIC)  # the slow way: all, then cut
        left, top = (width // 2 - 5) // 2, (height // 2 - 5) // 2
        expected = torch.from_numpy(np.array(small.crop((left, top, left + 5, top + 5)))).permute(2, 0, 1).float() / 255
        # 8-bit rounding between the two passes may differ by one level.
        torch.testing.assert_close(CentreCrop(5)(image), expected, rtol=0, atol=1.01 / 255)
    with pytest.raises(ValueError, match="size=0"):
        CentreCrop(0)


def test_one_opened_image_many_times(tmp_path: Path) -> None:
    for turn in range(8):
        pixels = noise(400, 300)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        opened = Image.open(tmp_path / "a.png")
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(encode_picture, [opened] * 16))
        assert found == {b"P6\n300 400\n255\n" + pixels.tobytes()}, turn


def test_images_that_share_a_file() -> None:
    pages, file = [noise(200, 200) for _ in range(8)], io.BytesIO()
    Image.fromarray(pages[0]).save(file, "TIFF", save_all=True, append_images=[*map(Image.fromarray, pages[1:])])
    for _ in range(4):
        opened = [Image.open(file) for _ in pages]
        for number, image in enumerate(opened):
            image.seek(number)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(encode_picture, opened))
        assert [data[-page.size :] == page.tobytes() for data, page in zip(found, pages, strict=True)] == [True] * 8


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_levels_keep_their_brightness(bits: int, tmp_path: Path) -> None:
    ramp = np.linspace(0, 2**bits - 1, 256).astype(np.int64).reshape(16, 16)
    expected = ramp.reshape(-1) / (2**bits - 1) * 255
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "16.png")
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "16.tif")
    Image.fromarray(ramp.astype(np.int32)).save(tmp_path / "32.tif")
    for path in sorted(tmp_path.iterdir()):
        seen = np.asarray(decode_picture(path.read_bytes()))[:, :, 0].reshape(-1)
        assert np.abs(seen - expected).max() <= 1, path
        assert is_deep(path.read_bytes())
    assert not is_deep(encode_picture(noise()))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_damaged_tag_says_nothing_about_the_pixels(kind: str) -> None:
    pixels, file = noise(), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, kind, exif=exif.tobytes(), **({"lossless": True} if kind == "WEBP" else {}))
    data = bytearray(file.getvalue())
    place = data.index(b"MM\0*") if b"MM\0*" in data else data.index(b"II*\0")
    data[place : place + 8] = b"\xff" * 8
    if kind == "PNG":  # a PNG's chunk has a checksum
        begin = data.index(b"eXIf")
        size = struct.unpack(">I", data[begin - 4 : begin])[0]
        data[begin + 4 + size : begin + 8 + size] = struct.pack(">I", zlib.crc32(data[begin : begin + 4 + size]))
    np.testing.assert_array_equal(np.asarray(decode_picture(bytes(data))), pixels)


def test_formats_that_run_other_programs_are_not_opened() -> None:
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(ValueError, match="no picture in a format that is read: BMP, GIF, JPEG"):
        decode_picture(script)
    for kind in ("ICO", "TGA", "PCX"):
        file = io.BytesIO()
        Image.fromarray(noise()).save(file, kind)
        with pytest.raises(ValueError, match="no picture in a format that is read"):
            decode_picture(file.getvalue())


def test_floats_tensors_and_channels_are_the_same_picture() -> None:
    pixels = noise()
    tensor = torch.from_numpy(pixels)
    rgba = np.concatenate([pixels, np.full((30, 40, 1), 7, np.uint8)], 2)
    forms = [
        pixels, tensor, pixels.transpose(2, 0, 1), tensor.permute(2, 0, 1), pixels / 255, (pixels / 255).astype("f4"),
        tensor.permute(2, 0, 1).float() / 255, rgba, Image.fromarray(pixels),
    ]  # fmt: skip
    assert {encode_picture(form) for form in forms} == {encode_picture(pixels)}
    grey = [pixels[:, :, 0], tensor[:, :, :1], tensor[None, :, :, 0], pixels[:, :, 0] / 255]
    assert len({encode_picture(form) for form in grey}) == 1
    stacked = [np.stack([pixels] * 2), torch.stack([tensor.permute(2, 0, 1)] * 2), np.stack([pixels] * 2) / 255]
    for form in stacked:
        assert [encode_picture(item) for item in ImageSource(form, [0, 1]).items] == [encode_picture(pixels)] * 2

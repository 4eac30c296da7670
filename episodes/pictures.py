"""One picture: from a stored row to RGB, from memory to bytes, from RGB to a tensor."""

from __future__ import annotations

import io
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from episodes.inputs import check_whole
from episodes.pixels import to_eight_bits, to_pixels
from episodes.precision import as_float
from episodes.sounds import as_mel_picture, is_recording

if TYPE_CHECKING:
    from PIL import Image, ImageFile

Box = tuple[float, float, float, float]  # left, top, right, bottom
# PIL reads many more, among them PostScript, which it hands to another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
    6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip
_TAGS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")  # each of them may hold an orientation
# An opened PIL image reads its file when it is first used; threads would share the file's position.
_loading = Lock()


class CentreCrop:
    """Crops the centre square, resizes it, and scales pixels to 0..1.

    Args:
        size: height and width in pixels.

    Raises:
        ValueError: `size` is no whole number above 0.
    """

    def __init__(self, size: int = 84) -> None:
        self.size = check_whole("size", size)

    def __call__(self, picture: Image.Image) -> Tensor:
        """RGB picture -> ``[3, size, size]`` float32."""
        from PIL import Image

        width, height = picture.size
        short = min(width, height)
        left, top = (width - short) / 2, (height - short) / 2
        square = picture.resize(
            (self.size, self.size), Image.Resampling.BICUBIC, box=(left, top, left + short, top + short)
        )
        pixels = np.array(square)  # [size, size, 3], a copy: the picture's own memory is read-only
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div_(255)

    def __repr__(self) -> str:
        return f"CentreCrop({self.size})"


def decode_picture(data: bytes) -> Image.Image:
    """An encoded picture (JPEG, PNG, ...) as RGB, turned upright by its EXIF orientation; or a recording's log-mel."""
    if is_recording(data):
        return as_mel_picture(data)
    picture = _opened(data)
    picture.load()
    return to_rgb(upright(picture))


def decode_reduced(data: bytes, scale: int) -> tuple[Image.Image, Box]:
    """A JPEG (see `episodes.jpeg.jpeg_size`) as RGB and upright, decoded so many times smaller than it is.

    The inverse cosine transform gives fewer pixels of each block, which costs a fraction and is an average over them.

    Args:
        data: the file's bytes.
        scale: 2, 4 or 8.

    Returns:
        The picture, and which part of it shows the whole one: the last of its rows and columns may stand for fewer
        pixels than the others do.
    """
    picture = _opened(data)
    width, height = picture.size
    picture.draft(None, (max(1, width // scale), max(1, height // scale)))
    picture.load()
    wide, high = width / scale, height / scale
    turn = _orientation(picture)
    image = to_rgb(upright(picture))
    if turn >= 5:
        wide, high = high, wide
    left = image.width - wide if turn in (2, 3, 6, 7) else 0.0  # what was at the right is at the left now
    top = image.height - high if turn in (3, 4, 7, 8) else 0.0
    return image, (left, top, left + wide, top + high)


def _opened(data: bytes) -> ImageFile.ImageFile:
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise ValueError("the file is empty")
    Image.init()
    try:
        return Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        raise ValueError(f"its bytes are no picture in a format that is read: {', '.join(FORMATS)}") from None


def as_picture(content: bytes | Tensor) -> Image.Image:
    """The picture in a row as `read` of a source gives it: encoded, or an image as a tensor (see `to_pixels`)."""
    from PIL import Image

    return decode_picture(content) if isinstance(content, bytes) else Image.fromarray(to_pixels(content))


def as_values(content: bytes | Tensor) -> Tensor:
    """A row as `read` of a source gives it as floating point: pixels ``[3, H, W]`` in 0..1, or the tensor itself."""
    if isinstance(content, bytes):
        content = torch.from_numpy(np.array(decode_picture(content))).permute(2, 0, 1)  # [3, H, W]
    return as_float(content)


def is_deep(data: bytes) -> bool:
    """Whether an encoded picture may hold grey levels of more than 8 bits: all TIFF, 16-bit PNG and PGM."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return data[24:25] == b"\x10"
    return data[:4] in (b"II*\0", b"MM\0*") or (data[:2] in (b"P2", b"P5") and b"\n255\n" not in data[:64])


def upright(picture: Image.Image) -> Image.Image:
    """A picture turned and mirrored by its EXIF orientation; as it is where the tags cannot be read.

    What was turned has no such tags any more, so that nothing turns it a second time.
    """
    from PIL import Image

    turn = _TURNS.get(_orientation(picture))
    if turn is None:
        return picture
    turned = picture.transpose(Image.Transpose[turn])
    turned.info = {name: value for name, value in turned.info.items() if name not in _TAGS}
    return turned


def orientation_of(data: bytes) -> int:
    """The EXIF orientation of an encoded picture, 1 to 8, without decoding it."""
    return _orientation(_opened(data))


def _orientation(picture: Image.Image) -> int:
    """1 to 8; 1, upright, where the tags cannot be read."""
    from PIL import ExifTags

    try:
        turn = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged tags raise anything, while the pixels may be sound
        return 1
    return turn if turn in _TURNS else 1


def to_rgb(picture: Image.Image) -> Image.Image:
    """A picture of any mode as 8-bit RGB; transparency is dropped, as is usual in this field."""
    from PIL import Image

    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith("I"):
        # PIL would clip 16-bit grey at 255 and so turn nearly everything white.
        return Image.fromarray(to_eight_bits(np.asarray(picture))).convert("RGB")
    if picture.mode == "F":
        raise ValueError("its pixels are fractions of unknown range; save it with 8-bit pixels")
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def encode_picture(item: Any) -> bytes:
    """A PIL image, or an array or tensor as `to_pixels` takes it, as the bytes of an (uncompressed) PPM file.

    Equal pixels give equal bytes on every machine, which no compressing format promises.
    """
    from PIL import Image

    if isinstance(item, Image.Image):
        with _loading:
            item.load()
            turned = upright(item)
        pixels = np.asarray(to_rgb(turned))
    elif isinstance(item, np.ndarray | Tensor):
        pixels = to_pixels(item)
    else:
        raise ValueError(f"it is a {type(item).__name__}; give a file name, a PIL image or an array of pixels")
    height, width, _ = pixels.shape
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()


def probe() -> list[Image.Image]:
    """Two fixed pictures, wide and tall, that distinguish one transform from another."""
    from PIL import Image

    rows, columns, channels = np.ogrid[:67, :101, :3]
    wide = ((rows * 7 + columns * 5 + rows * columns // 3) * (channels + 1) % 256).astype(np.uint8)
    return [Image.fromarray(wide), Image.fromarray(np.ascontiguousarray(wide.transpose(1, 0, 2)))]

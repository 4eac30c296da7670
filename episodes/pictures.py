"""One picture: from bytes to RGB, from memory to bytes, from RGB to a tensor."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image


class CentreCrop:
    """Crops the centre square, resizes it, and scales pixels to 0..1.

    Args:
        size: height and width in pixels.

    Raises:
        ValueError: `size` is not positive.
    """

    def __init__(self, size: int = 84) -> None:
        if size < 1:
            raise ValueError(f"size={size}; a picture needs at least one pixel.")
        self.size = size

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
    """An encoded picture (JPEG, PNG, ...) as RGB, turned upright by its EXIF orientation."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise ValueError("the file is empty")
    try:
        picture = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise ValueError("its bytes are no picture in a known format") from None
    picture.load()
    return to_rgb(upright(picture))


def upright(picture: Image.Image) -> Image.Image:
    """A picture turned and mirrored as its EXIF orientation says."""
    from PIL import ExifTags, ImageOps

    # `exif_transpose` copies even where there is nothing to turn.
    if picture.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return picture
    return ImageOps.exif_transpose(picture)


def to_rgb(picture: Image.Image) -> Image.Image:
    """A picture of any mode as 8-bit RGB; transparency is dropped, as is usual in this field."""
    from PIL import Image

    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith("I"):
        levels = np.asarray(picture)
        if levels.size and (levels.min() < 0 or levels.max() > 65535):
            raise ValueError(f"its pixels range from {levels.min()} to {levels.max()}; at most 16 bits are read")
        # PIL would clip 16-bit grey at 255 and so turn nearly everything white.
        return Image.fromarray((levels >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise ValueError("its pixels are fractions of unknown range; save it with 8-bit pixels")
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def encode_picture(item: Any) -> bytes:
    """A PIL image or a uint8 array ``[H, W]`` or ``[H, W, 3]`` as the bytes of an (uncompressed) PPM file.

    Equal pixels give equal bytes on every machine, which no compressing format promises.
    """
    from PIL import Image

    if isinstance(item, Image.Image):
        pixels = np.asarray(to_rgb(upright(item)))
    elif isinstance(item, np.ndarray | Tensor):
        pixels = np.asarray(item)
        if pixels.dtype != np.uint8:
            raise ValueError(f"it is an array of {pixels.dtype}; pixels must be uint8, 0..255")
    else:
        raise ValueError(f"it is a {type(item).__name__}; give a file name, a PIL image or a uint8 array")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"it is an array of shape {list(pixels.shape)}; it must be [H, W, 3] or [H, W]")
    height, width, _ = pixels.shape
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()


def probe() -> list[Image.Image]:
    """Two fixed pictures, wide and tall, that tell one transform from another."""
    from PIL import Image

    rows, columns, channels = np.ogrid[:67, :101, :3]
    wide = ((rows * 7 + columns * 5 + rows * columns // 3) * (channels + 1) % 256).astype(np.uint8)
    return [Image.fromarray(wide), Image.fromarray(np.ascontiguousarray(wide.transpose(1, 0, 2)))]

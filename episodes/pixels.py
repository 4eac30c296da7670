"""Arrays as images: where the channels are, and how values become 8-bit RGB or a network's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.precision import as_float

_OUTPUTS = ("pixel_values", "image", "images", "inputs")  # what processors and augmentation libraries return
_DEPTHS = (8, 10, 12, 14, 16)  # bits of a grey level that cameras and scanners record


def channels_at(shape: tuple[int, ...], is_tensor: bool) -> int | None:
    """Axis of the channels of an image: 0 for ``[C, H, W]``, 2 for ``[H, W, C]``, None where neither can be.

    One or three channels, or four (RGBA) on the last axis. Where both are possible, a tensor has them first and
    an array last, as torch and image libraries write them.

    >>> channels_at((3, 40, 60), False), channels_at((40, 60, 4), False), channels_at((3, 8, 3), True)
    (0, 2, 0)
    """
    first, last = shape[0] in (1, 3), shape[2] in (1, 3)
    if first and last:
        return 0 if is_tensor else 2
    if first:
        return 0
    return 2 if last or shape[2] == 4 else None


def is_one_image(shape: tuple[int, ...], is_tensor: bool) -> bool:
    """Whether three dimensions are an image in colour ``[H, W, 3]`` or ``[3, H, W]`` rather than M grey ones.

    >>> is_one_image((64, 64, 3), False), is_one_image((10, 28, 28), False)
    (True, False)
    """
    if len(shape) != 3:
        return False
    place = channels_at(shape, is_tensor)
    return place is not None and not (place == 0 and shape[0] == 1)  # [1, H, W] is one row either way


def channels_first(images: Any) -> Any:
    """Images ``[M, H, W, C]`` as ``[M, C, H, W]``, an array or a tensor; anything else as it is."""
    is_tensor = isinstance(images, Tensor)
    if images.ndim != 4 or channels_at(tuple(images.shape[1:]), is_tensor) != 2:
        return images
    if images.shape[3] == 4:
        images = images[..., :3]  # transparency is dropped, as it is of files
    return images.movedim(3, 1) if is_tensor else np.moveaxis(images, 3, 1)


def to_pixels(image: Tensor | NDArray[Any]) -> NDArray[np.uint8]:
    """An array or tensor as 8-bit RGB ``[H, W, 3]``.

    Args:
        image: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` (see `channels_at`), uint8 or floating point in 0..1.

    Raises:
        ValueError: another shape, another type, or floats outside 0..1.
    """
    is_tensor = isinstance(image, Tensor)
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.dtype == torch.bfloat16 else image).numpy()
    place = channels_at(image.shape, is_tensor) if image.ndim == 3 else None
    if not image.size or (place is None and image.ndim != 2):
        raise ValueError(
            f"it is an array of shape {list(image.shape)}, which is no image; it must be [H, W, 3], [3, H, W] or "
            "[H, W]. Rows that are features already need no encoder"
        )
    pixels = image[:, :, None] if image.ndim == 2 else image.transpose(1, 2, 0) if place == 0 else image[:, :, :3]
    if pixels.dtype.kind == "f":
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= 1):  # true of NaN, too
            raise ValueError(
                f"its pixels are {pixels.dtype} from {low} to {high}; give uint8 0..255 or floats 0..1, not "
                "normalised: the encoder does that"
            )
        pixels = np.rint(pixels.astype(np.float32) * 255)
    elif pixels.dtype != np.uint8:
        raise ValueError(f"it is an array of {pixels.dtype}; pixels must be uint8 0..255 or floats 0..1")
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), dtype=np.uint8)


def to_eight_bits(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey levels of up to 16 bits as 8 bits, by the fewest bits that cameras record and that hold them all.

    A 12-bit image stored in 16 bits keeps its brightness, and 8-bit levels in a 32-bit file stay as they are.

    Raises:
        ValueError: negative levels, or more than 16 bits.

    >>> to_eight_bits(np.array([0, 2048, 4095])), to_eight_bits(np.array([0, 255])), to_eight_bits(np.array([65535]))
    (array([  0, 128, 255], dtype=uint8), array([  0, 255], dtype=uint8), array([255], dtype=uint8))
    """
    low, high = (int(levels.min()), int(levels.max())) if levels.size else (0, 0)
    if low < 0 or high > 65535:
        raise ValueError(f"its pixels range from {low} to {high}; at most 16 bits are read")
    depth = next(bits for bits in _DEPTHS if high < 1 << bits)
    return (levels >> (depth - 8)).astype(np.uint8)


def as_input(made: Any) -> Tensor:
    """What a transform made of an image, as the tensor ``[C, H, W]`` that a network takes.

    Args:
        made: a tensor, as it is; an array, channels moved first; or a mapping that holds one of them (under
            ``"pixel_values"`` or ``"image"`` where it holds several), also as a batch of one. 8-bit values become
            0..1.

    Raises:
        ValueError: anything else.
    """
    if isinstance(made, Mapping) or (hasattr(made, "keys") and hasattr(made, "__getitem__")):
        names = [str(name) for name in made]
        found = names if len(names) == 1 else [name for name in _OUTPUTS if name in names]
        if not found:
            raise ValueError(
                f"the transform gives a mapping of {', '.join(names) or 'nothing'}; let it give the image as a tensor "
                "[3, H, W], or under 'pixel_values'"
            )
        made = made[found[0]]
        if isinstance(made, (list, tuple)) and len(made) == 1:
            made = made[0]
        if isinstance(made, (Tensor, np.ndarray)) and made.ndim == 4 and len(made) == 1:
            made = made[0]
    if isinstance(made, np.ndarray) and made.dtype.kind in "fiub":
        rows = channels_first(made[None])[0] if made.ndim == 3 else made
        made = torch.from_numpy(np.array(rows, dtype=np.float32 if made.dtype == np.float64 else None))
    if not isinstance(made, Tensor):
        raise ValueError(f"the transform gives a {type(made).__name__}; let it give a tensor [3, H, W]")
    return as_float(made)

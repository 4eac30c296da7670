"""Rows as people see them: thumbnails, the network's input made visible again, and maps laid over it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from episodes.pictures import as_picture, as_values
from episodes.source import StoredSource
from fewshot.encoders.encoder import Encoder

THUMBNAIL = 112  # pixels
_WARM, _COLD = np.array([213.0, 94.0, 0.0]), np.array([0.0, 114.0, 178.0])  # vermilion: for, blue: against
_QUALITY = 78


def network_input(items: StoredSource, encoder: Encoder, row: int) -> Tensor:
    """A row as the network is given it ``[3, H, W]``.

    Raises:
        ValueError: it cannot be read; it is named.
    """
    try:
        payload = items.read(row)
        if encoder.transform is None:
            return as_values(payload)
        return torch.as_tensor(encoder.transform(as_picture(payload)))
    except Exception as error:  # damaged files raise anything, from SyntaxError to struct.error
        raise ValueError(f"cannot read {items.describe(row)}: {error}") from error


def visible(tensor: Tensor, transform: Any) -> Any:
    """A network's input as a PIL image: normalisation by mean and standard deviation is undone.

    A transform of which these are not known is stretched to the range of its values.

    Args:
        tensor: ``[1 or 3, H, W]``.
        transform: of the encoder; None: values are pixels in 0..1.
    """
    from PIL import Image

    values = tensor.detach().float().cpu()
    statistics = normalisation(transform)
    if statistics is not None:
        mean, std = (torch.tensor(value).view(-1, 1, 1) for value in statistics)
        values = values * std + mean
    elif transform is not None or values.min() < 0 or values.max() > 1:
        values = (values - values.min()) / (values.max() - values.min()).clamp(min=1e-9)
    if values.shape[0] not in (1, 3):
        values = values.mean(0, keepdim=True)
    pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8).expand(3, -1, -1)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def normalisation(transform: Any) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation by which a transform normalises, where it has them for anyone to read."""
    for step in (transform, *getattr(transform, "transforms", ())):
        mean, std = getattr(step, "mean", None), getattr(step, "std", None)
        if mean is not None and std is not None:
            return [float(value) for value in mean], [float(value) for value in std]
    return None


def thumbnail(picture: Any, side: int = THUMBNAIL) -> Any:
    """The centre square of a PIL image, `side` pixels wide; small pictures are enlarged without blur."""
    from PIL import Image, ImageOps

    small = min(picture.size) < side
    method = Image.Resampling.NEAREST if small and min(picture.size) <= 40 else Image.Resampling.LANCZOS
    return ImageOps.fit(picture.convert("RGB"), (side, side), method)


def overlaid(picture: Any, importance: Tensor, side: int = THUMBNAIL) -> Any:
    """A picture in grey with what speaks for the answer in orange, and against it in blue.

    Args:
        picture: PIL image.
        importance: ``[h, w]``; its largest magnitude has full colour.
        side: of the result in pixels.
    """
    from PIL import Image

    grey = np.asarray(thumbnail(picture, side).convert("L"), np.float64)[..., None] * 0.75 + 40
    strength = enlarged(importance / importance.abs().max().clamp(min=1e-12), side)[..., None]
    colour = np.where(strength > 0, _WARM, _COLD)
    share = np.abs(strength).clip(0, 1) * 0.75
    return Image.fromarray(((1 - share) * grey + share * colour).clip(0, 255).astype(np.uint8))


def heat(activation: Tensor, side: int) -> Any:
    """A map of activations ``[h, w]`` as a grey picture, its smallest value black and its largest white."""
    from PIL import Image

    level = activation - activation.min()
    level = level / level.max().clamp(min=1e-12)
    return Image.fromarray((enlarged(level, side).clip(0, 1) * 255).astype(np.uint8))


def enlarged(values: Tensor, side: int) -> NDArray[np.float64]:
    """Values ``[h, w]``, bilinear, as ``[side, side]``."""
    wide = F.interpolate(values[None, None].double(), (side, side), mode="bilinear", align_corners=False)
    return np.asarray(wide[0, 0])


def data_uri(picture: Any) -> str:
    """A PIL image inside a page."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"

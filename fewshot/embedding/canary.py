"""Canaries: fixed items whose features betray that the pipeline no longer computes what it did."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.pictures import decode_picture
from episodes.pixels import as_input

# Short ones: what an encoder does with texts beyond its context is in its fingerprint.
TEXTS = ["a photo of a cat", "Zwölf Boxkämpfer", "12:30", "x x x x"]
_SIZES = [(64, 48), (40, 72), (56, 56), (96, 40)]  # of the coarse blocks, in blocks of 4 pixels


def pictures() -> list[Any]:
    """Four fixed pictures with sharp edges, sent through JPEG so that its decoder is watched as well."""
    from PIL import Image

    images = []
    for number, (width, height) in enumerate(_SIZES):
        noise = hashlib.shake_256(b"fewshot canary %d" % number).digest(width * height * 3)
        blocks = Image.fromarray(np.frombuffer(noise, np.uint8).reshape(height, width, 3))
        large = blocks.resize((4 * width, 4 * height), Image.Resampling.NEAREST)
        file = io.BytesIO()
        large.save(file, "JPEG", quality=90)
        images.append(decode_picture(file.getvalue()))
    return images


def batch(encoder: Any, kind: str) -> Tensor | list[str] | None:
    """The canaries as the encoder's input, or None where only the data tells what an input looks like."""
    if kind == "texts":
        return TEXTS
    if encoder.transform is None:
        return None
    inputs = [as_input(encoder.transform(image)) for image in pictures()]
    if len({image.shape for image in inputs}) > 1:  # the transform leaves the size to the data
        return None
    return torch.stack(inputs)

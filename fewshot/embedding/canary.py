"""Canaries: fixed items whose features tell when the pipeline no longer computes what it did."""

from __future__ import annotations

import hashlib
import io
import math
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.pictures import decode_picture
from episodes.pixels import as_input
from fewshot.embedding.computing import Forward
from fewshot.embedding.items import Items
from fewshot.embedding.plan import first_input

# Short ones: what an encoder does with texts beyond its context is in its fingerprint.
TEXTS = ["a photo of a cat", "Zwölf Boxkämpfer", "12:30", "x x x x"]
_SIZES = [(64, 48), (40, 72), (56, 56), (96, 40)]  # of the coarse blocks, in blocks of 4 pixels
_checked: set[tuple[str, str]] = set()  # spaces whose canaries this process has compared
_checking = Lock()


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


def check(space: Any, items: Items, forward: Forward, *, begin: bool) -> None:
    """Once per process and space: the encoder must compute what it did when the space began.

    Args:
        space: of `fewshot.cache`.
        items: the first tells what an input looks like, where the encoder has no transform.
        forward: the encoder on its device.
        begin: keep the canaries of a space that has none; only right before rows are written to it.

    Raises:
        fewshot.cache.StaleCacheError: it computes something else.
    """
    known = (str(space.path), space.id)
    with _checking:
        kept = space.canary
        if kept is not None and known in _checked:
            return
        if kept is None and not begin:
            return  # rows of unknown origin; nothing tells what they should be
        name = kept["name"] if kept is not None else _name(items, forward.encoder)
        rows = forward(_batch(name, forward.encoder)).float().cpu()
        if kept is not None:
            space.check_canary(rows)
        elif rows.isfinite().all():
            space.set_canary(name, rows)
        _checked.add(known)


def _name(items: Items, encoder: Any) -> str:
    """``"texts"``, ``"images"``, or, where only the data tell what an input looks like, ``"images 3x32x32"``."""
    if items.kind == "texts":
        return items.kind
    if encoder.transform is not None and len({image.shape for image in _inputs(encoder)}) == 1:
        return items.kind  # else the transform keeps each image's size
    shape = first_input(items, encoder).shape[1:]
    return f"{items.kind} {'x'.join(map(str, shape))}"


def _batch(name: str, encoder: Any) -> Tensor | list[str]:
    """The canaries as the encoder's input."""
    kind, _, shape = name.partition(" ")
    if kind == "texts":
        return TEXTS
    if not shape:
        return torch.stack(_inputs(encoder))
    sizes = [len(_SIZES), *map(int, shape.split("x"))]
    noise = hashlib.shake_256(b"fewshot canary").digest(math.prod(sizes))
    return torch.frombuffer(bytearray(noise), dtype=torch.uint8).reshape(sizes).float().div_(255)


def _inputs(encoder: Any) -> list[Tensor]:
    return [as_input(encoder.transform(image)) for image in pictures()]

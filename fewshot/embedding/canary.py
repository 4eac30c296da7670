"""Canaries: fixed items whose features are kept with a space, to detect changed encoder output."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from episodes.files import write_atomically
from episodes.pictures import decode_picture
from episodes.pixels import as_input
from episodes.schema import field, read_json
from episodes.source import StoredSource, tower_of
from fewshot.embedding.forward import Forward
from fewshot.embedding.loading import first_input

if TYPE_CHECKING:
    from fewshot.encoders.device_decoding import DeviceDecoder

_LOG = logging.getLogger("fewshot")
SAME = 0.9999  # cosine: kernels and batch sizes stay above, another resize or checkpoint falls below
# Short ones: what an encoder does with texts beyond its context is in its fingerprint.
TEXTS = ["a photo of a cat", "Zwölf Boxkämpfer", "12:30", "x x x x"]
_SAMPLES = (16000, 9000, 24000)  # of noise, at whatever rate
_SIZES = [(64, 48), (40, 72), (56, 56), (96, 40)]  # of the coarse blocks, in blocks of 4 pixels
_checked: set[tuple[str, str]] = set()  # spaces whose canaries this process has compared
_checking = Lock()


def pictures() -> list[bytes]:
    """Four fixed pictures with sharp edges, as JPEGs so that their decoder is checked as well."""
    from PIL import Image

    files = []
    for number, (width, height) in enumerate(_SIZES):
        noise = hashlib.shake_256(b"fewshot canary %d" % number).digest(width * height * 3)
        blocks = Image.fromarray(np.frombuffer(noise, np.uint8).reshape(height, width, 3))
        large = blocks.resize((4 * width, 4 * height), Image.Resampling.NEAREST)
        file = io.BytesIO()
        large.save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def check(space: Any, source: StoredSource, forward: Forward, *, begin: bool) -> None:
    """Once per process and space: the encoder must compute what it did when the space began.

    Args:
        space: of `fewshot.cache`.
        source: its first row has the shape of an input, where the encoder has no transform.
        forward: the encoder on its device.
        begin: keep the canaries of a space that has none; only right before rows are written to it.

    Raises:
        fewshot.cache.StaleCacheError: it computes something else.
    """
    known = (str(space.path), space.id)
    with _checking:
        kept = kept_canary(space)
        if kept is not None and known in _checked:
            return
        if kept is None and not begin:
            return  # rows of unknown origin, with nothing to compare them with
        name = kept["name"] if kept is not None else control_name(source, forward.encoder)
        rows = forward(control_items(name, forward.encoder, forward.decoder)).float().cpu()
        if kept is not None:
            compare(kept, rows, space)
        elif rows.isfinite().all():
            keep_canary(space, name, rows)
        _checked.add(known)


def kept_canary(space: Any) -> dict[str, Any] | None:
    """What the canaries were embedded as when the space began, or None; a damaged file is named and counts as none."""
    path = space.path / "canary.json"
    try:
        data = read_json(path)
        rows = field(data, "rows", list, repr(str(path)), each=list, least=1)
        widths = {len([field({"rows": value}, "rows", float, repr(str(path))) for value in row]) for row in rows}
        if len(widths) != 1:
            raise ValueError(f"{str(path)!r}: the field 'rows' has rows of several lengths.")
        return {"name": field(data, "name", str, repr(str(path)), default=""), "rows": rows}
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        _LOG.warning("cache space %s: %s Its control items are embedded again.", space.id[:8], error)
        return None


def keep_canary(space: Any, name: str, rows: Tensor | ArrayLike) -> None:
    """Keep the features of the canaries with the space.

    Raises:
        fewshot.cache.CacheWriteError: they cannot be written.
    """
    from fewshot.cache.errors import explain_write_error

    data = {"name": name, "rows": np.asarray(rows, np.float64).tolist()}
    try:
        write_atomically(space.path / "canary.json", json.dumps(data).encode())
    except OSError as error:
        raise explain_write_error(error, space.path) from error


def compare(kept: dict[str, Any], rows: Tensor | ArrayLike, space: Any) -> None:
    """Compare fresh features of the canaries with those that were kept.

    Raises:
        fewshot.cache.StaleCacheError: a cosine is below 0.9999: decoder, library or hardware changed the result.
    """
    from fewshot.cache.errors import StaleCacheError

    old, new = np.asarray(kept["rows"], float), np.asarray(rows, float)
    if old.shape == new.shape:
        norms = np.linalg.norm(old, axis=1) * np.linalg.norm(new, axis=1)
        cosine = np.where(norms > 0, (old * new).sum(1) / np.where(norms > 0, norms, 1), (old == new).all(1))
        if (cosine >= SAME).all():
            return
        found = f"cosine {cosine.min():.5f} with what they were"
    else:
        found = f"shape {list(new.shape)} instead of {list(old.shape)}"
    raise StaleCacheError(
        f"the encoder gives its control items {found}, although its fingerprint is unchanged (another "
        f"library version or decoder?). Remove the space ({space.id}) to embed anew, or go back to that version."
    )


def control_name(source: StoredSource, encoder: Any) -> str:
    """The tower, or, where only the data tell what an input looks like, ``"images 3x32x32"``."""
    tower = tower_of(source)
    if tower != "images":
        return tower
    if encoder.transform is not None and len({image.shape for image in _inputs(encoder)}) == 1:
        return tower  # else the transform keeps each image's size
    shape = first_input(source, encoder).shape[1:]
    return f"{tower} {'x'.join(map(str, shape))}"


def control_items(name: str, encoder: Any, decoder: Any = None) -> Tensor | list[str] | list[Tensor]:
    """The canaries as the encoder's input; pictures as the decoder gives them (`Forward`), where there is one."""
    kind, _, shape = name.partition(" ")
    if kind == "texts":
        return [json.dumps([text, text]) for text in TEXTS] if encoder.pairs else TEXTS
    if kind == "sounds":
        return [_noise(length) for length in _SAMPLES]
    if not shape:
        return torch.stack(_inputs(encoder)) if decoder is None else _decoded(decoder)
    sizes = [len(_SIZES), *map(int, shape.split("x"))]
    noise = hashlib.shake_256(b"fewshot canary").digest(math.prod(sizes))
    return torch.frombuffer(bytearray(noise), dtype=torch.uint8).reshape(sizes).float().div_(255)


def _noise(length: int) -> Tensor:
    """Samples in -0.5..0.5 that fade away ``[length]``."""
    bits = bytearray(hashlib.shake_256(b"fewshot canary %d" % length).digest(length))
    return (torch.frombuffer(bits, dtype=torch.uint8).float() / 255 - 0.5) * torch.linspace(1, 0.1, length)


def _inputs(encoder: Any) -> list[Tensor]:
    return [as_input(encoder.transform(decode_picture(data))) for data in pictures()]


def _decoded(decoder: DeviceDecoder) -> Tensor:
    found: dict[int, Tensor] = {}
    for numbers, pixels in decoder(dict(enumerate(pictures()))):
        found.update(zip(numbers, pixels, strict=True))
    decoder.settled()
    return decoder.hand_over(torch.stack([found[number] for number in range(len(_SIZES))]))

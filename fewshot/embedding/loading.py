"""Rows read, decoded and transformed, a batch of them in the calling thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from episodes.pictures import as_picture, as_values, decode_reduced
from episodes.pixels import as_input
from episodes.sounds import as_wave
from episodes.source import StoredSource, TensorSource, as_float, tower_of
from fewshot.embedding.plan import Plan, Work, content_key, view_generator
from fewshot.encoders.preprocess import is_plain

if TYPE_CHECKING:
    from fewshot.encoders.device_decoding import DeviceDecoder

_READ_TOGETHER = 64  # files whose bytes are in memory at a time, and as many that are being read


@dataclass(frozen=True)
class Batch:
    """Decoded items on the device.

    Attributes:
        inputs: what `Forward` is given ``[B, *x]`` (8-bit where the transform is a `Preprocess`), B strings, or B
            recordings ``[n]``.
        units: which units of the work they are ``[B]``.
        failures: units that could not be decoded, and why.
        cost: what the forward pass has to do, in items; of texts in padded characters.
    """

    inputs: Tensor | list[str] | list[Tensor]
    units: list[int]
    failures: dict[int, str]
    cost: int


def in_order(work: Work) -> Sequence[int]:
    """The units of the work as they are embedded: texts longest first, so that a batch is padded little."""
    if tower_of(work.source) != "texts":
        return range(len(work))
    texts = work.source.texts  # type: ignore[attr-defined]
    return sorted(range(len(work)), key=lambda unit: -len(texts[work.rows[unit]]))


def load(work: Work, encoder: Any, units: Sequence[int], slot: Slot, decoder: Any = None) -> Batch:
    """Some units as a batch; one that cannot be read or decoded is among its failures.

    Args:
        work: what is embedded.
        encoder: whose input is made.
        units: of the work, one after another where they are images.
        slot: memory for images.
        decoder: see `Forward`.
    """
    if tower_of(work.source) == "texts":
        return batch_of_texts(work, units)
    if tower_of(work.source) == "sounds":
        wave = wave_loader(work, encoder)
        return batch_of_waves({unit: wave(unit) for unit in units})
    if isinstance(work.source, TensorSource) and encoder.transform is None and work.augment is None:
        return batch_of_tensors(work, work.source, units)
    if decoder is not None:
        return batch_by_decoder(work, decoder, units)
    failures = slot.fill(units, units, picture_loader(work, encoder.transform))
    good = [unit for unit in units if unit not in failures]
    return Batch(slot.take(units, good), good, failures, len(good))


def batch_of_texts(work: Work, units: Sequence[int]) -> Batch:
    """Strings, as they are."""
    texts = [work.source.texts[work.rows[unit]] for unit in units]  # type: ignore[attr-defined]
    return Batch(texts, list(units), {}, len(texts) * max(1, *map(len, texts)))


def batch_of_tensors(work: Work, source: TensorSource, units: Sequence[int]) -> Batch:
    """Rows that are in memory."""
    rows = torch.tensor([work.rows[unit] for unit in units], device=source.features.device)
    return Batch(as_float(source.features.index_select(0, rows)), list(units), {}, len(units))


def wave_loader(work: Work, encoder: Any) -> Callable[[int], Tensor | str]:
    """Unit -> its recording ``[n]``, or why there is none."""

    def load(unit: int) -> Tensor | str:
        try:
            wave = as_wave(_read(work, unit)[0])
            if len(wave) < encoder.shortest:
                least = encoder.shortest / encoder.rate
                return f"it lasts {len(wave) / encoder.rate:.4g} s, and {encoder.name!r} takes {least:.4g} s at least"
            return torch.from_numpy(wave).float()
        except Exception as error:  # damaged files raise anything
            return _reason(error)

    return load


def batch_of_waves(found: dict[int, Tensor | str]) -> Batch:
    """Recordings of any length, and why the others failed."""
    waves = {unit: wave for unit, wave in found.items() if isinstance(wave, Tensor)}
    failures = {unit: why for unit, why in found.items() if isinstance(why, str)}
    return Batch(list(waves.values()), list(waves), failures, sum(map(len, waves.values())))


class Slot:
    """Memory for one batch of images, pinned where the device is a GPU; several threads may fill it.

    Args:
        device: that the batch is for.
        shape: that of the first image of all slots, which the others must have too: a list that they share.
        lock: of that list.
    """

    def __init__(self, device: torch.device, shape: list[torch.Size], lock: Lock) -> None:
        self.device, self.shape, self.lock = device, shape, lock
        self.buffer: Tensor | None = None
        self.copied: torch.cuda.Event | None = None

    @staticmethod
    def several(count: int, device: torch.device) -> list[Slot]:
        """So many slots for images of one shape."""
        shape: list[torch.Size] = []
        lock = Lock()
        return [Slot(device, shape, lock) for _ in range(count)]

    def wait(self) -> None:
        """Until the device has copied what was here."""
        if self.copied is not None:
            self.copied.synchronize()

    def fill(self, units: Sequence[int], part: Sequence[int], load: Callable[[int], Tensor]) -> dict[int, str]:
        """Decode some of a batch's units into the buffer; returns why the others failed."""
        failures = {}
        for unit in part:
            try:
                tensor = load(unit)
                self._buffer_for(tensor, len(units))[unit - units[0]] = tensor
            except Exception as error:  # damaged files raise anything, from SyntaxError to struct.error
                failures[unit] = _reason(error)
        return failures

    def take(self, units: Sequence[int], good: list[int]) -> Tensor:
        """The batch on the device; on a GPU the copy continues after this returns."""
        if self.buffer is None or not good:
            return torch.empty(0)
        if len(good) == len(units):
            batch = self.buffer[: len(units)]
        else:
            batch = self.buffer[torch.tensor(good) - units[0]]
        batch = batch.to(self.device, non_blocking=True)
        if self.device.type == "cuda":
            self.copied = torch.cuda.Event()
            self.copied.record()
        return batch

    def _buffer_for(self, like: Tensor, batch_size: int) -> Tensor:
        with self.lock:
            if not self.shape:
                self.shape.append(like.shape)
            if like.shape != self.shape[0]:
                raise ValueError(
                    f"it becomes {list(like.shape)} but others {list(self.shape[0])}; the encoder needs "
                    "a transform that resizes and crops all images to one size"
                )
            if self.buffer is None or len(self.buffer) < batch_size:
                pinned = self.device.type == "cuda"
                self.buffer = _empty_like(like, batch_size, pinned)
            return self.buffer


def _empty_like(like: Tensor, count: int, pinned: bool) -> Tensor:
    """Memory for so many tensors, in the order in which `like` is stored: channels first or last."""
    if like.ndim == 3 and not like.is_contiguous() and like.permute(1, 2, 0).is_contiguous():
        size = (count, *like.shape[1:], like.shape[0])
        return torch.empty(size, dtype=like.dtype, pin_memory=pinned).permute(0, 3, 1, 2)
    return torch.empty((count, *like.shape), dtype=like.dtype, pin_memory=pinned)


def picture_loader(work: Work, transform: Any) -> Callable[[int], Tensor]:
    """Unit -> its picture, decoded and transformed; 8-bit where the transform is a `Preprocess`."""
    augment = work.augment

    def load(unit: int) -> Tensor:
        content, scale = _read(work, unit)
        key = work.keys[unit]
        if transform is None and augment is None:
            return as_values(content)
        if scale > 1 and is_plain(transform) and isinstance(content, bytes):
            return transform.pixels(*decode_reduced(content, scale))
        picture = as_picture(content)
        if augment is not None:
            picture = augment(picture, view_generator(key))
        if is_plain(transform):
            return transform.pixels(picture)  # a quarter of the bytes; `Forward` normalises whole batches
        if transform is not None:
            return as_input(transform(picture))
        return as_float(torch.from_numpy(np.array(picture)).permute(2, 0, 1))  # [3, H, W]

    return load


def batch_by_decoder(work: Work, decoder: DeviceDecoder, units: Sequence[int], mapped: Any = map) -> Batch:
    """Some units as a batch whose JPEGs a decoder has decoded on the device; Pillow decodes what it does not take.

    Args:
        work: pictures, without views.
        decoder: of the encoder's pictures.
        units: of the work.
        mapped: reads them: `map`, or that of a pool of threads, which then reads ahead.
    """
    plain = decoder.transform.pixels

    def read(unit: int) -> bytes | Tensor | str:
        try:
            content = _read(work, unit)[0]
            return content if decoder.takes(content) else plain(as_picture(content))
        except Exception as error:  # damaged files raise anything
            return _reason(error)

    rows: list[Tensor] = []
    order: list[int] = []
    failures: dict[int, str] = {}
    parts = [units[first : first + _READ_TOGETHER] for first in range(0, len(units), _READ_TOGETHER)]
    reading = mapped(read, parts[0])
    with decoder.working():
        for number, part in enumerate(parts):
            found: dict[int, Any] = dict(zip(part, reading, strict=True))
            reading = mapped(read, parts[number + 1]) if number + 1 < len(parts) else None
            files = {unit: content for unit, content in found.items() if isinstance(content, bytes)}
            for group, pixels in decoder(files):
                rows.append(pixels)
                order += group
            for unit in files.keys() - set(order):
                try:
                    found[unit] = plain(as_picture(found[unit]))
                except Exception as error:
                    found[unit] = _reason(error)
            others = {unit: pixels for unit, pixels in found.items() if isinstance(pixels, Tensor)}
            if others:
                rows.append(decoder.on_device(list(others.values())))
                order += others
            failures |= {unit: why for unit, why in found.items() if isinstance(why, str)}
        inputs = torch.cat(rows) if rows else torch.empty(0)
        decoder.settled()
    return Batch(inputs, order, failures, len(order))


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _read(work: Work, unit: int) -> tuple[Any, int]:
    """A row as stored, which must still be what its key was made from, and its `Scale`."""
    content = work.source.read(work.rows[unit])
    scale = work.scale(content)
    if content_key(work.source, content, work.fields[unit], scale) != work.keys[unit].tobytes():
        raise ValueError("it has changed since its content was hashed; leave the data alone meanwhile")
    return content, scale


def first_input(source: StoredSource, encoder: Any) -> Any:
    """What the encoder is given for the first row that can be read, as a batch of one.

    Raises:
        ValueError: not one row can be read; the message names the first.
    """
    here = torch.device("cpu")
    why = None
    for first in range(0, len(source), 16):
        part: Any = source.select(torch.arange(first, min(len(source), first + 16)))
        plan = Plan(part, 0, None, 0, 1, encoder.scale_of)
        for row in range(len(part)):
            work = Work(part, [row], plan.keys[row], [{}], scale=encoder.scale_of)
            batch = load(work, encoder, [0], *Slot.several(1, here))
            if batch.units:
                return batch.inputs
            plan.failures.setdefault(row, batch.failures[0])
        why = why or plan.explain(0)
    raise ValueError(f"not one row of {source.name!r} could be embedded. {why}")

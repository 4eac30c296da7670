"""Decoding in threads, ahead of the forward pass, into batches on the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.pictures import as_picture, as_values, decode_reduced
from episodes.pixels import as_input
from episodes.sounds import as_wave
from episodes.source import StoredSource, TensorSource, as_float, tower_of
from fewshot.embedding.forward import BatchSize
from fewshot.embedding.plan import Plan, Work, content_key, view_generator
from fewshot.encoders.preprocess import is_plain

_AHEAD = 3  # batches in memory at a time: one computes, one is ready, one is being decoded


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


def batches(work: Work, encoder: Any, batch_size: BatchSize, workers: int, device: torch.device) -> Iterator[Batch]:
    """The work as batches, decoded ahead; texts come longest first, so that a batch is padded little."""
    if tower_of(work.source) == "texts":
        return _texts(work, batch_size)
    if tower_of(work.source) == "sounds":
        return _sounds(work, encoder, batch_size, workers)
    if isinstance(work.source, TensorSource) and encoder.transform is None and work.augment is None:
        return _tensors(work, work.source, batch_size)
    return _images(work, encoder.transform, batch_size, workers, device)


def _stretches(count: int, batch_size: BatchSize) -> Iterator[range]:
    first = 0
    while first < count:
        last = min(first + batch_size.size, count)
        yield range(first, last)
        first = last


def _texts(work: Work, batch_size: BatchSize) -> Iterator[Batch]:
    texts = [work.source.texts[row] for row in work.rows]  # type: ignore[attr-defined]
    order = sorted(range(len(work)), key=lambda unit: -len(texts[unit]))
    for stretch in _stretches(len(order), batch_size):
        units = [order[position] for position in stretch]
        yield Batch([texts[unit] for unit in units], units, {}, len(units) * max(1, len(texts[units[0]])))


def _sounds(work: Work, encoder: Any, batch_size: BatchSize, workers: int) -> Iterator[Batch]:
    """Recordings of any length, a batch of them read ahead."""

    def load(unit: int) -> Tensor | str:
        try:
            wave = as_wave(_read(work, unit)[0])
            if len(wave) < encoder.shortest:
                least = encoder.shortest / encoder.rate
                return f"it lasts {len(wave) / encoder.rate:.4g} s, and {encoder.name!r} takes {least:.4g} s at least"
            return torch.from_numpy(wave).float()
        except Exception as error:  # damaged files raise anything
            return str(error) or type(error).__name__

    waiting: deque[tuple[range, list[Future[Tensor | str]]]] = deque()
    with decoding_threads(workers) as pool:
        for stretch in _stretches(len(work), batch_size):
            waiting.append((stretch, [pool.submit(load, unit) for unit in stretch]))
            if len(waiting) > 1:
                yield _batch_of_sounds(*waiting.popleft())
        while waiting:
            yield _batch_of_sounds(*waiting.popleft())


def _batch_of_sounds(units: range, futures: list[Future[Tensor | str]]) -> Batch:
    found = {unit: future.result() for unit, future in zip(units, futures, strict=True)}
    waves = {unit: wave for unit, wave in found.items() if isinstance(wave, Tensor)}
    failures = {unit: why for unit, why in found.items() if isinstance(why, str)}
    return Batch(list(waves.values()), list(waves), failures, sum(map(len, waves.values())))


def _tensors(work: Work, source: TensorSource, batch_size: BatchSize) -> Iterator[Batch]:
    for stretch in _stretches(len(work), batch_size):
        units = list(stretch)
        rows = torch.tensor([work.rows[unit] for unit in units], device=source.features.device)
        yield Batch(as_float(source.features.index_select(0, rows)), units, {}, len(units))


def _images(work: Work, transform: Any, batch_size: BatchSize, workers: int, device: torch.device) -> Iterator[Batch]:
    load = _loader(work, transform)
    shape: list[torch.Size] = []  # that of the first image decoded, which the others must have too
    lock = Lock()
    slots = [_Slot(device, shape, lock) for _ in range(_AHEAD)]
    if len(work) == 1:  # threads would take longer to start than a small picture to decode
        failures = slots[0].fill(range(1), range(1), load)
        good = [] if failures else [0]
        yield Batch(slots[0].take(range(1), good), good, failures, len(good))
        return
    waiting: deque[tuple[_Slot, range, list[Future[dict[int, str]]]]] = deque()
    with decoding_threads(workers) as pool:
        stretches = enumerate(_stretches(len(work), batch_size))

        def submit() -> None:
            while len(waiting) < _AHEAD - 1 and (stretch := next(stretches, None)) is not None:
                number, units = stretch
                slot = slots[number % _AHEAD]
                slot.wait()
                step = -(-len(units) // workers)  # units that one thread decodes in one go
                parts = [units[begin : begin + step] for begin in range(0, len(units), step)]
                waiting.append((slot, units, [pool.submit(slot.fill, units, part, load) for part in parts]))

        submit()
        while waiting:
            slot, units, futures = waiting.popleft()
            failures = {unit: reason for future in futures for unit, reason in future.result().items()}
            submit()  # while the consumer computes on this batch, both other slots are being filled
            good = [unit for unit in units if unit not in failures]
            yield Batch(slot.take(units, good), good, failures, len(good))


class _Slot:
    """Memory for one batch, pinned where the device is a GPU; filled by several threads."""

    def __init__(self, device: torch.device, shape: list[torch.Size], lock: Lock) -> None:
        self.device, self.shape, self.lock = device, shape, lock
        self.buffer: Tensor | None = None
        self.copied: torch.cuda.Event | None = None

    def wait(self) -> None:
        """Until the device has copied what was here."""
        if self.copied is not None:
            self.copied.synchronize()

    def fill(self, units: range, part: range, load: Callable[[int], Tensor]) -> dict[int, str]:
        """Decode some of a batch's units into the buffer; returns why the others failed."""
        failures = {}
        for unit in part:
            try:
                tensor = load(unit)
                self._buffer_for(tensor, len(units))[unit - units[0]] = tensor
            except Exception as error:  # damaged files raise anything, from SyntaxError to struct.error
                failures[unit] = str(error) or type(error).__name__
        return failures

    def take(self, units: range, good: list[int]) -> Tensor:
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


def _loader(work: Work, transform: Any) -> Callable[[int], Tensor]:
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
            for batch in batches(work, encoder, BatchSize(1, here), 1, here):
                if batch.units:
                    return batch.inputs
                plan.failures.setdefault(row, next(iter(batch.failures.values())))
        why = why or plan.explain(0)
    raise ValueError(f"not one row of {source.name!r} could be embedded. {why}")


@contextmanager
def decoding_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool whose threads leave the processors to each other and to the forward pass."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode", initializer=torch.set_num_threads, initargs=(1,))
    threads = torch.get_num_threads()
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)  # the setting of one thread is also the default of threads to come

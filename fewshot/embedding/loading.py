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
from numpy.typing import NDArray
from torch import Tensor

from episodes.pixels import as_input
from episodes.source import as_float
from fewshot.embedding.batch_size import BatchSize
from fewshot.embedding.items import Items, Tensors, content_key
from fewshot.embedding.views import Augment, view_generator

_AHEAD = 3  # batches in memory at a time: one computes, one is ready, one is being decoded


@dataclass(frozen=True)
class Work:
    """The items to embed: which rows, seen how, under which keys.

    Attributes:
        items: where the rows are read.
        rows: row of each unit of work ``[n]``.
        keys: its content key ``[n, 16]``.
        fields: what its key holds besides the content (the view), ``[n]``.
        augment: makes a view of an image, or None.
    """

    items: Items
    rows: list[int]
    keys: NDArray[np.uint8]
    fields: list[dict[str, int]]
    augment: Augment | None = None

    def __len__(self) -> int:
        """Units of work n."""
        return len(self.rows)


@dataclass(frozen=True)
class Batch:
    """Decoded items on the device.

    Attributes:
        inputs: what the encoder is given ``[B, *x]``, or B strings.
        units: which units of the work they are ``[B]``.
        failures: units that could not be decoded, and why.
        cost: what the forward pass has to do, in items; of texts in padded characters.
    """

    inputs: Tensor | list[str]
    units: list[int]
    failures: dict[int, str]
    cost: int


def batches(work: Work, encoder: Any, batch_size: BatchSize, workers: int, device: torch.device) -> Iterator[Batch]:
    """The work as batches, decoded ahead; texts come longest first, so that a batch is padded little."""
    if work.items.kind == "texts":
        return _texts(work, batch_size)
    if isinstance(work.items, Tensors) and encoder.transform is None and work.augment is None:
        return _tensors(work, work.items, batch_size)
    return _images(work, encoder.transform, batch_size, workers, device)


def _stretches(count: int, batch_size: BatchSize) -> Iterator[range]:
    first = 0
    while first < count:
        last = min(first + batch_size.size, count)
        yield range(first, last)
        first = last


def _texts(work: Work, batch_size: BatchSize) -> Iterator[Batch]:
    texts = [work.items.payload(row) for row in work.rows]
    order = sorted(range(len(work)), key=lambda unit: -len(texts[unit]))
    for stretch in _stretches(len(order), batch_size):
        units = [order[place] for place in stretch]
        yield Batch([texts[unit] for unit in units], units, {}, len(units) * max(1, len(texts[units[0]])))


def _tensors(work: Work, items: Tensors, batch_size: BatchSize) -> Iterator[Batch]:
    for stretch in _stretches(len(work), batch_size):
        units = list(stretch)
        rows = torch.tensor([work.rows[unit] for unit in units], device=items.features.device)
        yield Batch(as_float(items.features.index_select(0, rows)), units, {}, len(units))


def _images(work: Work, transform: Any, batch_size: BatchSize, workers: int, device: torch.device) -> Iterator[Batch]:
    load = _loader(work, transform)
    shape: list[torch.Size] = []  # that of the first image decoded, which the others must have too
    lock = Lock()
    slots = [_Slot(device, shape, lock) for _ in range(_AHEAD)]
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
    """Room for one batch, in pinned memory where the device is a GPU; filled by several threads."""

    def __init__(self, device: torch.device, shape: list[torch.Size], lock: Lock) -> None:
        self.device, self.shape, self.lock = device, shape, lock
        self.room: Tensor | None = None
        self.copied: torch.cuda.Event | None = None

    def wait(self) -> None:
        """Until the device has copied what was here."""
        if self.copied is not None:
            self.copied.synchronize()

    def fill(self, units: range, part: range, load: Callable[[int], Tensor]) -> dict[int, str]:
        """Decode some of a batch's units into their places; returns why the others failed."""
        failures = {}
        for unit in part:
            try:
                tensor = load(unit)
                room = self._room(tensor, len(units))
                room[unit - units[0]] = tensor
            except Exception as error:  # damaged files raise anything, from SyntaxError to struct.error
                failures[unit] = str(error) or type(error).__name__
        return failures

    def take(self, units: range, good: list[int]) -> Tensor:
        """The batch on the device; on a GPU the copy goes on while this returns."""
        if self.room is None or not good:
            return torch.empty(0)
        if len(good) == len(units):
            batch = self.room[: len(units)]
        else:
            batch = self.room[torch.tensor(good) - units[0]]
        batch = batch.to(self.device, non_blocking=True)
        if self.device.type == "cuda":
            self.copied = torch.cuda.Event()
            self.copied.record()
        return batch

    def _room(self, like: Tensor, batch_size: int) -> Tensor:
        with self.lock:
            if not self.shape:
                self.shape.append(like.shape)
            if like.shape != self.shape[0]:
                raise ValueError(
                    f"it becomes {list(like.shape)} but others {list(self.shape[0])}; the encoder needs "
                    "a transform that resizes and crops all images to one size"
                )
            if self.room is None or len(self.room) < batch_size:
                pinned = self.device.type == "cuda"
                self.room = torch.empty((batch_size, *like.shape), dtype=like.dtype, pin_memory=pinned)
            return self.room


def _loader(work: Work, transform: Any) -> Callable[[int], Tensor]:
    items, augment = work.items, work.augment

    def load(unit: int) -> Tensor:
        payload = items.payload(work.rows[unit])
        key = work.keys[unit]
        if content_key(items, payload, work.fields[unit]) != key.tobytes():
            raise ValueError("it has changed since its content was hashed; leave the data alone meanwhile")
        if transform is None and augment is None:
            return items.tensor(payload)
        picture = items.picture(payload)
        if augment is not None:
            picture = augment(picture, view_generator(key))
        if transform is not None:
            return as_input(transform(picture))
        return as_float(torch.from_numpy(np.array(picture)).permute(2, 0, 1))

    return load


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

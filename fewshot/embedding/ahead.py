"""Batches decoded in threads, ahead of the forward pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from episodes.source import TensorSource, tower_of
from fewshot.embedding.forward import BatchSize
from fewshot.embedding.loading import (
    Batch,
    Slot,
    batch_by_decoder,
    batch_of_tensors,
    batch_of_texts,
    batch_of_waves,
    in_order,
    load,
    picture_loader,
    wave_loader,
)  # fmt: skip
from fewshot.embedding.plan import Work

if TYPE_CHECKING:
    from fewshot.encoders.device_decoding import DeviceDecoder

_AHEAD = 3  # batches in memory at a time: one computes, one is ready, one is being decoded


def batches(
    work: Work, encoder: Any, batch_size: BatchSize, workers: int, device: torch.device, decoder: Any = None
) -> Iterator[Batch]:
    """The work as batches on the device, decoded ahead; `decoder` is that of `Forward`."""
    kind, source = tower_of(work.source), work.source
    if kind == "texts":
        order = in_order(work)
        for stretch in stretches(len(work), batch_size):
            yield batch_of_texts(work, [order[position] for position in stretch])
    elif kind == "sounds":
        yield from _sounds(work, encoder, batch_size, workers)
    elif isinstance(source, TensorSource) and encoder.transform is None and work.augment is None:
        for stretch in stretches(len(work), batch_size):
            yield batch_of_tensors(work, source, stretch)
    elif len(work) == 1:  # threads would take longer to start than a small picture to decode
        yield load(work, encoder, [0], Slot.several(1, device)[0], decoder)
    elif decoder is not None:
        yield from _by_decoder(work, decoder, batch_size, workers)
    else:
        yield from _images(work, encoder.transform, batch_size, workers, device)


def stretches(count: int, batch_size: BatchSize) -> Iterator[range]:
    """Positions ``0, ..., count - 1``, cut at the size that batches have when one is asked for."""
    first = 0
    while first < count:
        last = min(first + batch_size.size, count)
        yield range(first, last)
        first = last


def _sounds(work: Work, encoder: Any, batch_size: BatchSize, workers: int) -> Iterator[Batch]:
    """Recordings of any length, a batch of them read ahead."""
    wave = wave_loader(work, encoder)
    waiting: deque[dict[int, Future[Tensor | str]]] = deque()
    with decoding_threads(workers) as pool:
        for stretch in stretches(len(work), batch_size):
            waiting.append({unit: pool.submit(wave, unit) for unit in stretch})
            if len(waiting) > 1:
                yield batch_of_waves({unit: future.result() for unit, future in waiting.popleft().items()})
        while waiting:
            yield batch_of_waves({unit: future.result() for unit, future in waiting.popleft().items()})


def _images(work: Work, transform: Any, batch_size: BatchSize, workers: int, device: torch.device) -> Iterator[Batch]:
    picture = picture_loader(work, transform)
    slots = Slot.several(_AHEAD, device)
    waiting: deque[tuple[Slot, range, list[Future[dict[int, str]]]]] = deque()
    with decoding_threads(workers) as pool:
        numbered = enumerate(stretches(len(work), batch_size))

        def submit() -> None:
            while len(waiting) < _AHEAD - 1 and (stretch := next(numbered, None)) is not None:
                number, units = stretch
                slot = slots[number % _AHEAD]
                slot.wait()
                step = -(-len(units) // workers)  # units that one thread decodes in one go
                parts = [units[begin : begin + step] for begin in range(0, len(units), step)]
                waiting.append((slot, units, [pool.submit(slot.fill, units, part, picture) for part in parts]))

        submit()
        while waiting:
            slot, units, futures = waiting.popleft()
            failures = {unit: reason for future in futures for unit, reason in future.result().items()}
            submit()  # while the consumer computes on this batch, both other slots are being filled
            good = [unit for unit in units if unit not in failures]
            yield Batch(slot.take(units, good), good, failures, len(good))


def _by_decoder(work: Work, decoder: DeviceDecoder, batch_size: BatchSize, workers: int) -> Iterator[Batch]:
    """Batches that a decoder has made on the device; on a GPU by one thread that gives it the work, on a CPU by all."""
    waiting: deque[list[Future[Batch]]] = deque()
    with decoding_threads(workers) as readers, decoding_threads(1 if decoder.batched else workers) as decoders:
        for units in stretches(len(work), batch_size):
            step = len(units) if decoder.batched else -(-len(units) // workers)
            parts = [units[begin : begin + step] for begin in range(0, len(units), step)]
            waiting.append([decoders.submit(batch_by_decoder, work, decoder, part, readers.map) for part in parts])
            if len(waiting) == _AHEAD:
                yield _whole(decoder, waiting.popleft())
        while waiting:
            yield _whole(decoder, waiting.popleft())


def _whole(decoder: DeviceDecoder, parts: list[Future[Batch]]) -> Batch:
    """The parts of a batch, for use in this thread."""
    made = [future.result() for future in parts]
    rows = [decoder.hand_over(part.inputs) for part in made if isinstance(part.inputs, Tensor) and part.units]
    units = [unit for part in made for unit in part.units]
    failures = {unit: reason for part in made for unit, reason in part.failures.items()}
    inputs = rows[0] if len(rows) == 1 else torch.cat(rows) if rows else torch.empty(0)
    return Batch(inputs, units, failures, len(units))


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

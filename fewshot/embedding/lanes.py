"""Lanes: on a CPU each processor takes whole batches, from reading to features, beside the others.

A thread that has a batch to itself waits for nobody, while several that share one wait for the slowest at every layer,
and compete with those that decode. What a network notes about itself during a forward pass stays in its lane: each lane
has objects of its own, which share their tensors.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import BoundedSemaphore, Lock
from typing import Any

import torch
from torch import Tensor

from episodes.source import tower_of
from fewshot.embedding.ahead import decoding_threads
from fewshot.embedding.copies import is_copyable, replica
from fewshot.embedding.forward import BatchSize, Forward
from fewshot.embedding.loading import Batch, Slot, in_order, load
from fewshot.embedding.plan import Work
from fewshot.embedding.settings import Settings

_WORTH = 8  # items for each processor; fewer do not pay for the copies of a network


def has_lanes(forward: Forward, kind: str, items: int) -> bool:
    """Whether so many items are computed in lanes, as many as torch has threads, each on one thread.

    That is on a CPU, of encoders that can be copied (`fewshot.embedding.copies.is_copyable`).

    Args:
        forward: by which runtime, and of which encoder.
        kind: ``"images"``, ``"texts"`` or ``"sounds"``.
        items: to be computed.
    """
    threads = torch.get_num_threads()
    if forward.device.type != "cpu" or threads < 2 or items < _WORTH * threads or forward.runtime == "compile":
        return False
    return is_copyable(forward.encoder.computed_by, kind)


@contextmanager
def threads_of_a_batch(forward: Forward, kind: str, items: int) -> Iterator[int]:
    """As many threads of torch as compute one batch of so many items: one where there are lanes, else all."""
    threads = torch.get_num_threads()
    if not has_lanes(forward, kind, items):
        yield threads
        return
    torch.set_num_threads(1)
    try:
        yield 1
    finally:
        torch.set_num_threads(threads)


def in_lanes(work: Work, forward: Forward, size: BatchSize, settings: Settings) -> Iterator[tuple[Batch, Tensor]]:
    """The work as batches and their features ``[B, D]``, in whatever order they are done.

    At a time as many batches are read and decoded as the settings have decoding threads, and as many computed as torch
    has threads; there is a lane more than either. Features may wait for their reader; decoded batches do not.

    Args:
        work: at least a few items for each processor.
        forward: for which `has_lanes` is true.
        size: of batches; every lane tells it how long one took.
        settings: a batch size that was given is kept; how many threads decode.
    """
    threads = torch.get_num_threads()
    count = max(threads, settings.threads) + 1
    shares = _Shares(work, size, threads, exact=settings.fixed_batch_size is not None)
    reading, computing = BoundedSemaphore(settings.threads), BoundedSemaphore(threads)
    free: SimpleQueue[tuple[Slot, Forward | None]] = SimpleQueue()
    for slot in Slot.several(count, forward.device):
        free.put((slot, None))
    alone = Lock()  # for all but the network of a text encoder: its tokenizer serves one thread at a time

    def lane() -> tuple[Batch, Tensor] | None:
        units = shares.next()
        if not units:
            return None
        slot, own = free.get()
        try:
            own = own or _own(forward, tower_of(work.source), alone)
            with reading:
                batch = load(work, forward.encoder, units, slot, forward.decoder)
            rows = torch.empty(0)
            if batch.units:
                with computing:
                    started = time.perf_counter()
                    rows = own(batch.inputs)
                    shares.note(batch, time.perf_counter() - started, own.limit)
            return batch, rows
        finally:
            free.put((slot, own))

    with decoding_threads(count) as pool:
        waiting = deque(pool.submit(lane) for _ in range(2 * count))
        while waiting:
            done = waiting.popleft().result()
            if done is not None:  # else no work is left, and only what others have begun
                waiting.append(pool.submit(lane))
                yield done


class _Shares:
    """The work, cut into batches as lanes ask for them; the last are smaller, so that all lanes end together."""

    def __init__(self, work: Work, size: BatchSize, lanes: int, *, exact: bool) -> None:
        self._order, self._size, self._lanes, self._exact = in_order(work), size, lanes, exact
        self._first = 0
        self._lock = Lock()

    def next(self) -> list[int]:
        """Units of the next batch; none: there are no more."""
        with self._lock:
            left = len(self._order) - self._first
            count = self._size.size
            if not self._exact:
                count = min(count, -(-left // self._lanes))
            units = list(self._order[self._first : self._first + count])
            self._first += len(units)
            return units

    def note(self, batch: Batch, seconds: float, limit: int | None) -> None:
        """A batch took so long, and memory has set this limit to batches."""
        with self._lock:
            self._size.note(len(batch.units), batch.cost, seconds)
            if limit is not None:
                self._size.settle(limit)


def _own(forward: Forward, kind: str, alone: Lock) -> Forward:
    """The forward pass of one lane."""
    own = copy.copy(forward)
    if forward.network is None:
        encoder = own.worker = copy.copy(forward.worker)
        encoder.module = replica(encoder.module)
        encoder.run = _positional(encoder.graph(kind)) if kind == "texts" else None
    elif kind == "texts":
        own.network = copy.copy(forward.network)
        encoder = own.network.encoder = copy.copy(forward.network.encoder)
    if kind == "texts":
        encoder.run = _released(encoder.run, alone)
        encoder.encode_texts = _locked(encoder.encode_texts, alone)
    return own


def _positional(graph: Any) -> Callable[..., Tensor]:
    return lambda **tokens: graph(*(tokens[name] for name in graph.names))


def _locked(call: Callable[..., Tensor], lock: Lock) -> Callable[..., Tensor]:
    def locked(*given: Any) -> Tensor:
        with lock:
            return call(*given)

    return locked


def _released(call: Callable[..., Tensor], lock: Lock) -> Callable[..., Tensor]:
    def released(**tokens: Tensor) -> Tensor:
        lock.release()
        try:
            return call(**tokens)
        finally:
            lock.acquire()

    return released

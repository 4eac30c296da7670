"""Filling a space of the embedding cache: decode, compute, copy back, write, all at the same time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from episodes.source import tower_of
from fewshot.embedding import canary
from fewshot.embedding.ahead import batches
from fewshot.embedding.copies import with_weights_laid_out
from fewshot.embedding.forward import BatchSize, Forward
from fewshot.embedding.lanes import has_lanes, in_lanes
from fewshot.embedding.loading import Batch
from fewshot.embedding.plan import Work
from fewshot.embedding.settings import Settings

_MANY = 16  # items that pay for a copy of the weights
_UNWRITTEN = 4  # batches that may wait for the writer thread
# (space, device, runtime, whether in lanes) -> the batch size that a search ended with
_found: dict[tuple[str, str, str, bool], int] = {}


@dataclass
class FillReport:
    """The outcome of one stretch of work.

    Attributes:
        computed: rows embedded and stored.
        failures: row -> why it could not be embedded.
        seconds: wall-clock time.
        batch_size: of the forward passes, as found or given.
    """

    computed: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0
    batch_size: int = 0


def fill(
    work: Work,
    forward: Forward,
    space: Any,
    settings: Settings,
    *,
    kept: bool = True,
    progress: Callable[[int], Any] = lambda rows: None,
) -> FillReport:
    """Embed every unit of the work into the space; what is finished stays, whatever ends it.

    Args:
        work: units that the space lacks.
        forward: the encoder on its device.
        space: of `fewshot.cache`.
        settings: batch size (``"auto"``: found on the work, once per process and space; halved for good where
            memory is too small), decoding threads, and whether the first failure ends it.
        kept: whether the space outlives this call, so that canaries are of use.
        progress: called with the number of rows after each batch.

    Raises:
        fewshot.cache.StaleCacheError: the encoder no longer computes what the space holds.
    """
    started = time.perf_counter()
    report = FillReport()
    if not len(work):
        return report
    if kept:
        canary.check(space, work.source, forward, begin=True)
    unwritten: deque[Future[int]] = deque()
    kind, fixed = tower_of(work.source), settings.fixed_batch_size
    if len(work) >= _MANY:
        forward = with_weights_laid_out(forward, kind, lambda: _few(work, forward))
    side_by_side = has_lanes(forward, kind, len(work))
    known = (space.id, str(forward.device), forward.runtime, side_by_side)
    size = BatchSize(fixed or _found.get(known), forward.device, texts=kind == "texts")
    stream = (in_lanes if side_by_side else _ahead)(work, forward, size, settings)
    with space.writer() as writer, ThreadPoolExecutor(1, thread_name_prefix="write") as thread:
        try:
            for batch, features in stream:
                _note(report, work, batch.failures)
                if batch.units:
                    rows, ready = _to_host(features)
                    _check_width(rows, space.dim, work, batch)
                    unwritten.append(thread.submit(_write, writer, work, batch, rows, ready, report))
                while len(unwritten) > _UNWRITTEN:
                    report.computed += unwritten.popleft().result()
                progress(len(batch.units))
                if report.failures and settings.stop_at_failure:
                    break
        finally:
            stream.close()  # type: ignore[attr-defined]
            while unwritten:
                report.computed += unwritten.popleft().result()
    report.seconds = time.perf_counter() - started
    report.batch_size = min(size.size, forward.limit or size.size)
    if fixed is None and not size.searching:
        _found[known] = report.batch_size
    return report


def _few(work: Work, forward: Forward) -> Any:
    """Two of the control items."""
    return canary.control_items(canary.control_name(work.source, forward.encoder), forward.encoder)[:2]


def _ahead(work: Work, forward: Forward, size: BatchSize, settings: Settings) -> Iterator[tuple[Batch, Tensor]]:
    """Batches that other threads decode, and their features."""
    for batch in batches(work, forward.encoder, size, settings.threads, forward.device, forward.decoder):
        if not batch.units:
            yield batch, torch.empty(0)
        else:
            yield batch, _timed(forward, batch, size) if size.searching else forward(batch.inputs)


def _timed(forward: Forward, batch: Batch, size: BatchSize) -> Tensor:
    """The forward pass, timed: on a GPU it is waited for, which only the first few batches are."""
    cuda = forward.device.type == "cuda"
    if cuda:
        torch.cuda.synchronize(forward.device)
    started = time.perf_counter()
    rows = forward(batch.inputs)
    if cuda:
        torch.cuda.synchronize(forward.device)
    size.note(len(batch.units), batch.cost, time.perf_counter() - started)
    if forward.limit is not None:
        size.settle(forward.limit)
    return rows


def _check_width(rows: Tensor, dim: int, work: Work, batch: Batch) -> None:
    """Refuse features of another width: images of several sizes, which met in no batch."""
    if rows.shape[1] != dim:
        raise ValueError(
            f"{work.source.describe(work.rows[batch.units[0]])} becomes {rows.shape[1]:,} features, others {dim:,}; "
            "images of several sizes need an encoder that brings them to one, such as 'pixels(size=32)'."
        )


def _to_host(rows: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    if rows.device.type != "cuda":
        return rows.cpu(), None
    host = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
    host.copy_(rows, non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return host, ready


def _write(
    writer: Any, work: Work, batch: Batch, rows: Tensor, ready: torch.cuda.Event | None, report: FillReport
) -> int:
    if ready is not None:
        ready.synchronize()
    keys = work.keys[batch.units]
    finite = rows.isfinite().all(1)
    if not finite.all():
        reason = not_finite(rows.dtype)
        _note(report, work, {batch.units[i]: reason for i in (~finite).nonzero().flatten().tolist()})
        rows, keys = rows[finite], keys[finite.numpy()]
    if len(rows):
        writer.add(keys, rows)
    return len(rows)


def not_finite(dtype: torch.dtype) -> str:
    """Why a row is refused that holds NaN or infinity."""
    return "its features are NaN or infinite" + (
        "; float16 holds at most 65,504, so try storage='float32'" if dtype == torch.float16 else ""
    )


def _note(report: FillReport, work: Work, failures: dict[int, str]) -> None:
    for unit, reason in failures.items():
        report.failures[work.rows[unit]] = reason

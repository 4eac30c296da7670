"""What an engine's workers do: embed a range of rows into the cache that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch

from episodes.any_source import as_source
from episodes.source import StoredSource
from fewshot.embedding.filling import FillReport, fill
from fewshot.embedding.plan import Work
from fewshot.embedding.settings import Settings, decoder_identity

_TASK_ROWS = 16_384  # missing rows of one task at most: some seconds of a GPU's work


@dataclass(frozen=True)
class Job:
    """What is the same for all ranges.

    Attributes:
        encoder: spec string, or an `Encoder` that can be sent to workers.
        dataset: spec string from which workers read the rows themselves, or None: then tasks bring them.
        cache: path of the cache folder.
        spec: of the space that is filled.
        settings: how rows are computed, with the runtime that the caller found; ``"auto"`` is each worker's own.
    """

    encoder: Any
    dataset: str | None
    cache: str
    spec: dict[str, Any] = field(hash=False)
    settings: Settings


@dataclass(frozen=True)
class Task:
    """Rows ``first, ..., last - 1`` of the dataset, and these rows where workers cannot read them by name."""

    first: int
    last: int
    source: StoredSource | None = None


def fill_task(job: Job, task: Task) -> FillReport:
    """Embed those rows of a range that the cache lacks. Running it again, or twice at once, does no harm."""
    from fewshot.cache import EmbeddingCache
    from fewshot.runtimes import forward_of

    encoder = _encoder(job.encoder)
    if "once" not in job.spec["encoder"] and encoder.fingerprint != job.spec["encoder"]:
        raise RuntimeError(
            f"the worker's {encoder.name!r} differs from the caller's (other weights or library versions?); "
            "make them the same, or give the Encoder object instead of its spec."
        )
    store = EmbeddingCache(job.cache)
    space = store.space(job.spec)
    space.refresh()
    source = task.source
    if source is None:
        source = _rows(_dataset(job.dataset or "", job.encoder), task.first, task.last)
    plan = job.settings.plan(source, encoder)
    forward = forward_of(job.settings, encoder, source, store, job.spec)
    decoder, own = job.spec.get("decoding", "Pillow"), decoder_identity(source, forward).get("decoding", "Pillow")
    if own != decoder:
        raise RuntimeError(
            f"the caller's pictures are decoded by {decoder}, a worker's by {own}; embed without engine=."
        )
    report = fill(plan.missing(space), forward, space, job.settings)
    failures = {**plan.failures, **report.failures}
    report.failures = {row + task.first: reason for row, reason in failures.items()}
    return report


def by_engine(engine: Any, job: Job, work: Work, advance: Callable[[int], Any]) -> Iterator[FillReport]:
    """Let an engine do the work, in ranges of rows that hold about as many missing ones each."""
    from fewshot.engines import load_engine

    engine = load_engine(engine)
    shares = max(4 * engine.workers, -(-len(work) // _TASK_ROWS))
    share = max(1, -(-len(work) // shares))
    tasks = []
    for start in range(0, len(work), share):
        rows = work.rows[start : start + share]
        first, last = min(rows), max(rows) + 1
        tasks.append(Task(first, last, None if job.dataset else _rows(work.source, first, last)))
    for report in engine.map(partial(fill_task, job), tasks):
        advance(report.computed)
        yield report


def _rows(source: StoredSource, first: int, last: int) -> Any:
    return source.select(torch.arange(first, last))


@lru_cache(maxsize=1)
def _encoder(spec: Any) -> Any:
    """One model per process, whatever the number of ranges."""
    from fewshot.encoders import load_encoder

    return load_encoder(spec)


@lru_cache(maxsize=1)
def _dataset(spec: str, encoder: Any) -> StoredSource:
    return as_source(spec, _encoder(encoder))

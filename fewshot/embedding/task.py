"""What an engine's worker does: embed a range of rows into the cache that all workers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch

from fewshot.embedding.any_dataset import as_items
from fewshot.embedding.computing import Forward, choose_device
from fewshot.embedding.filling import FillReport, fill, processors
from fewshot.embedding.items import Items
from fewshot.embedding.loading import Work
from fewshot.embedding.plan import Plan
from fewshot.embedding.views import Augment

_TASK_ROWS = 16_384  # missing rows of one task at most: some seconds of a GPU's work


@dataclass(frozen=True)
class Job:
    """What is the same for all ranges.

    Attributes:
        encoder: spec string, or an `Encoder` that can be sent to workers.
        cache: path of the cache folder.
        spec: of the space that is filled.
        dataset: spec string from which workers read the rows themselves, or None: then tasks bring them.
        device: ``"auto"``: the worker's own.
        batch_size: items in a forward pass; None: found by each worker.
        workers: decoding threads; None: all processors of the worker.
        views: augmented views of each item, or 0.
        augment: makes a view.
        seed: of the views.
        stop_at_failure: end at the first item that cannot be embedded.
    """

    encoder: Any
    cache: str
    spec: dict[str, Any] = field(hash=False)
    dataset: str | None
    device: str
    batch_size: int | None
    workers: int | None
    views: int
    augment: Augment | None
    seed: int
    stop_at_failure: bool


@dataclass(frozen=True)
class Task:
    """Rows ``first, ..., last - 1`` of the dataset, and these rows where workers cannot read them by name."""

    first: int
    last: int
    items: Items | None = None


def fill_task(job: Job, task: Task) -> FillReport:
    """Embed those rows of a range that the cache lacks. Running it again, or twice at once, does no harm."""
    from fewshot.cache import EmbeddingCache

    encoder = _encoder(job.encoder)
    if "once" not in job.spec["encoder"] and encoder.fingerprint != job.spec["encoder"]:
        raise RuntimeError(
            f"the worker's {encoder.name!r} differs from the caller's (other weights or library versions?); "
            "make them the same, or give the Encoder object instead of its spec."
        )
    space = EmbeddingCache(job.cache).space(job.spec)
    space.refresh()
    items = task.items
    if items is None:
        items = _dataset(job.dataset or "", job.encoder).part(task.first, task.last)
    threads = job.workers or processors()
    plan = Plan(items, job.views, job.augment, job.seed, threads)
    device = choose_device(job.device, encoder)
    dtype = getattr(torch, job.spec["storage"])
    report = fill(
        plan.missing(space), Forward(encoder.to(device), device, job.spec["precision"], dtype), space,
        batch_size=job.batch_size, workers=threads, stop_at_failure=job.stop_at_failure,
    )  # fmt: skip
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
        tasks.append(Task(first, last, None if job.dataset else work.items.part(first, last)))
    for report in engine.map(partial(fill_task, job), tasks):
        advance(report.computed)
        yield report


@lru_cache(maxsize=1)
def _encoder(spec: Any) -> Any:
    """One model per process, whatever the number of ranges."""
    from fewshot.encoders import load_encoder

    return load_encoder(spec)


@lru_cache(maxsize=1)
def _dataset(spec: str, encoder: Any) -> Items:
    return as_items(spec, _encoder(encoder))

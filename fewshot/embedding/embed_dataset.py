"""`embed`: a dataset and an encoder in, a table of features out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.any_source import as_source
from episodes.embedding_source import EmbeddingSource
from episodes.progress import progress_bar
from episodes.source import StoredSource
from episodes.temporary import temporary_folder
from fewshot.cache.twins import warn_of_twins
from fewshot.embedding import canary
from fewshot.embedding.ahead import batches
from fewshot.embedding.filling import FillReport, fill, not_finite
from fewshot.embedding.forward import BatchSize
from fewshot.embedding.plan import Augment, Plan, Work
from fewshot.embedding.settings import Settings
from fewshot.embedding.workers import Job, by_engine

if TYPE_CHECKING:
    from fewshot.cache import EmbeddingCache
    from fewshot.cache.space import Space
    from fewshot.encoders.encoder import Encoder

Run = Callable[[Work, Callable[[int], Any]], Iterator[FillReport]]
_LOG = logging.getLogger("fewshot")
_ATTEMPTS = 3


def embed(
    dataset: Any,
    encoder: str | Encoder,
    *,
    labels: Any = None,
    class_names: Sequence[str] | None = None,
    cache: EmbeddingCache | str | os.PathLike[str] | Literal[False] | None = None,
    engine: Any = None,
    batch_size: int | Literal["auto"] = "auto",
    device: str | torch.device = "auto",
    precision: str = "auto",
    storage: str = "float16",
    views: int = 0,
    augment: Augment | None = None,
    seed: int = 0,
    workers: int | Literal["auto"] = "auto",
    on_error: str = "raise",
    memory_limit: int | Literal["auto"] = "auto",
    progress: bool = True,
    runtime: str = "auto",
) -> EmbeddingSource:
    """Features of every item of a dataset ``[M, D]``, as the encoder gives them (not normalised).

    Items are looked up by their content first; only those never seen by this encoder are decoded and
    computed, each once. Interrupted at any moment, the same call resumes.

    Args:
        dataset: name of a dataset (``"omniglot:test"``, ``"folder:photos/"``) or a folder; a `Source`; a torch
            `Dataset` with ``.targets``, ``.labels`` or ``.samples``; an array or tensor of images; or a list or
            column of files, PIL images, arrays, tensors or texts. ``docs/inputs.md`` has the rules.
        encoder: spec string (``"timm:resnet18"``) or `Encoder`.
        labels: of a plain list or array ``[M]``; without them all rows are of one class "unlabelled".
        class_names: names for those labels.
        cache: an `EmbeddingCache` or its folder; None: the user's; False: nothing is kept.
        engine: where it is computed: None (here), a number of processes, ``"processes"``, ``"ray"`` or any
            `concurrent.futures.Executor`; see `fewshot.engines`.
        batch_size: items in one forward pass; "auto": the first batches are of growing size, until a larger
            one is no faster. Halved where memory is too small.
        device: "auto": the encoder's if it is on an accelerator, else CUDA, else MPS, else the CPU; see
            `episodes.device.choose_device`.
        precision: of the forward pass: "float32", "bfloat16", "float16"; "auto": bfloat16 on a GPU that
            has it, float16 on an older GPU; on a CPU with native bfloat16 that, for large encoders whose rows it leaves
            within a cosine of 0.9999 and datasets that are not in the cache in float32; float32 elsewhere.
        storage: "float16" halves files; its error (at most 0.05 % of a value) is below that of
            any precision but float32. "float32" keeps every bit. It holds with ``cache=False``, too.
        views: 0, or the number of augmented views of each image; a row is then their mean, so that no
            episode can hold two views of one image in support and query.
        augment: (PIL image, `numpy.random.Generator`) -> PIL image; by default a random crop and flip.
        seed: of the views.
        workers: decoding threads of this process or of each engine worker; "auto": one per processor.
        on_error: "raise" names the first item that cannot be read; "skip" drops such rows, with their
            labels, and lists them in ``report["skipped"]``.
        memory_limit: bytes that the table may take as float32; above them it stays memory-mapped. "auto": a
            quarter of memory.
        progress: show a bar on a terminal.
        runtime: what computes the network: ``"torch"``; ``"onnx"``: ONNX Runtime, on a CPU in float32, by a graph
            that is exported once per encoder into the cache folder (extra ``fewshot[onnx]``); ``"compile"``:
            `torch.compile`. ``"auto"``: as the encoder's spec says, else what is measured faster; see
            `fewshot.runtimes`. Where the chosen one cannot be had, a warning says why and torch computes.

    Returns:
        A `TensorSource` whose ``report`` counts rows, hits, computed, duplicate and skipped rows.

    Raises:
        ValueError: an argument is out of range, or an item cannot be read (it is named).
        RuntimeError: workers left rows out.
        fewshot.cache.StaleCacheError: the encoder no longer computes the rows that are cached.
        fewshot.cache.UnfingerprintableError: the encoder has no identity that holds across processes.

    >>> source = embed(torch.eye(4).reshape(4, 1, 2, 2), "pixels", labels=[0, 0, 1, 1], cache=False)
    >>> source.features.shape, source.report["computed"]
    (torch.Size([4, 4]), 4)
    """
    from fewshot.encoders import load_encoder
    from fewshot.runtimes import fastest_forward

    started = time.perf_counter()
    settings = Settings(
        batch_size=batch_size, device=device, precision=precision, storage=storage, views=views, augment=augment,
        seed=seed, workers=workers, on_error=on_error, runtime=runtime,
    )  # fmt: skip
    model = load_encoder(encoder)
    source = as_source(dataset, model, labels, class_names)
    plan = settings.plan(source, model)
    if settings.stop_at_failure:
        plan.refuse_failures()
    _say_twins(plan)

    with _opened(cache) as store:
        forward = fastest_forward(settings, model, source, plan, store)
        spec = settings.space_spec(source, forward, once=cache is False)
        space = store.space(spec)
        hits = len(plan.units) - len(plan.missing(space))
        if hits:
            canary.check(space, source, forward, begin=False)

        def run(work: Work, advance: Callable[[int], Any]) -> Iterator[FillReport]:
            if engine is not None and len(work):
                named = dataset if isinstance(dataset, str) else None
                found = replace(settings, runtime=forward.runtime)
                yield from by_engine(engine, Job(encoder, named, str(store.path), spec, found), work, advance)
            elif len(work):
                yield fill(work, forward, space, settings, kept=cache is not False, progress=advance)

        with progress_bar(len(plan.units), hits, "items", show=progress) as bar:
            bar.set_postfix_str(f"{hits} from the cache")
            stop, limit = settings.stop_at_failure, _bytes(memory_limit)
            reports, present, features = _complete(plan, space, run, bar.update, stop, limit)
    seconds = time.perf_counter() - started
    report = {
        "rows": len(source), "hits": hits, "computed": sum(report.computed for report in reports),
        "duplicates": plan.duplicates, "seconds": seconds,
        "batch_size": max((report.batch_size for report in reports), default=None),
        "skipped": [{"row": row, "error": plan.explain(row)} for row in sorted(plan.failures)],
        "images_per_second": len(source) / seconds, "dataset": source.name, "encoder": model.name,
        "space": space.id, "precision": forward.precision, "runtime": forward.runtime,
        "storage": storage, "views": views,
    }  # fmt: skip
    return EmbeddingSource(
        features, source.labels[torch.from_numpy(present)], source.class_names, keys=plan.keys[present],
        space=None if "once" in spec["encoder"] else space.id, name=f"{source.name} @ {model.name}",
        report=report,
    )  # fmt: skip


def embed_few(source: StoredSource, encoder: Encoder, device: str | torch.device = "auto") -> Tensor:
    """Features of a few items ``[M, D]``, float32, as `embed` gives them, computed here and now.

    No cache has a part in it: nothing is hashed, looked up or written but the items themselves, so that an answer
    about one photograph takes little more than decoding and the forward pass, and a service leaves no files behind.
    The precision is the one in which this process last embedded rows by the encoder, else that of `Settings`.

    Args:
        source: the items.
        encoder: what computes them, as it is now.
        device: as for `embed`.

    Raises:
        UnreadableItemError: an item cannot be embedded; the first is named.
    """
    from fewshot.runtimes import known_forward

    settings = Settings(device=device)
    plan = settings.plan(source, encoder)
    plan.refuse_failures()
    forward = known_forward(settings, encoder, source)
    found: Tensor | None = None
    work = plan.whole()
    size = BatchSize(len(work), forward.device)
    threads = min(settings.threads, len(work))
    for batch in batches(work, encoder, size, threads, forward.device, forward.decoder):
        plan.failures.update({work.rows[unit]: reason for unit, reason in batch.failures.items()})
        plan.refuse_failures()
        rows = forward(batch.inputs).cpu()
        found = rows.new_empty(len(work), rows.shape[1]) if found is None else found
        found[batch.units] = rows
        for unit in (~rows.isfinite().all(1)).nonzero().flatten().tolist():
            plan.failures[work.rows[batch.units[unit]]] = not_finite(rows.dtype)
    plan.refuse_failures()
    assert found is not None
    return found.float()


def _complete(
    plan: Plan, space: Space, run: Run, advance: Callable[[int], Any], stop: bool, memory_limit: int
) -> tuple[list[FillReport], NDArray[np.bool_], Any]:
    """Compute what is missing and read the table; again where workers died or a file proved damaged."""
    from fewshot.cache import MissingRowsError

    reports = []
    for _ in range(_ATTEMPTS):
        for report in run(plan.missing(space), advance):
            reports.append(report)
            plan.failures.update(report.failures)
            if stop:
                plan.refuse_failures()
        space.refresh()
        present = plan.present(space)
        if len(plan.missing(space)):
            continue
        if not present.any():
            raise ValueError(f"not one row of {plan.source.name!r} could be embedded. {plan.explain(0)}")
        try:
            return reports, present, plan.read(space, present, memory_limit)
        except MissingRowsError:  # the space has set a damaged file aside: its rows are missing now
            continue
    left = plan.missing(space).rows
    named = ", ".join(plan.source.describe(row) for row in left[:3])
    raise RuntimeError(
        f"{len(left)} of {len(plan.source)} rows are still missing after {_ATTEMPTS} rounds ({named}, ...). "
        "Do all workers see the cache folder? The same call resumes from here."
    )


def _say_twins(plan: Plan) -> None:
    """Say which content has labels of several classes."""
    if plan.duplicates:
        readable = np.setdiff1d(np.arange(len(plan.source)), list(plan.failures))
        names, labels = plan.source.class_names, plan.source.labels[torch.from_numpy(readable)].tolist()
        shown = [names[label] for label in labels]
        warn_of_twins(plan.keys[readable, 0], shown, lambda row: plan.source.describe(int(readable[row])))


@contextmanager
def _opened(cache: Any) -> Iterator[EmbeddingCache]:
    from fewshot.cache import EmbeddingCache

    if isinstance(cache, EmbeddingCache):
        yield cache
    elif cache is not False:
        yield EmbeddingCache(cache)
    else:  # a mapped table outlives its file where the system allows it, and stays behind where not
        with temporary_folder("fewshot-cache-") as folder:
            yield EmbeddingCache(folder)


def _bytes(memory_limit: int | str) -> int:
    if memory_limit != "auto":
        return int(memory_limit)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):
        return 4 * 2**30

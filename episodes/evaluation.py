"""`evaluate`: the one loop that gives learners episodes and scores their predictions."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.arguments import check_arguments
from episodes.cell import Cell, Learns, OutOfMemory, record, score
from episodes.device import choose_device
from episodes.draw import OPEN
from episodes.identity import digest_array
from episodes.metrics import Metric, load_metric
from episodes.progress import progress_bar
from episodes.results import Results, ResultsFile
from episodes.samplers.sampler import Sampler
from episodes.source import Source, TensorSource

_LOG = logging.getLogger("episodes")
_BLOCK = 1024  # episodes drawn, moved and kept at a time
# Rows gathered at a time. On a CPU they should stay in the cache between being gathered and being used.
_CHUNK_BYTES = {"cpu": 8 * 2**20}
_CHUNK_BYTES_ACCELERATOR = 256 * 2**20
_SAVE_SECONDS = 10.0


def evaluate(
    learners: Learns | str | Sequence[Learns | str] | Mapping[str, Learns | str],
    source: Source | Mapping[str, Source],
    sampler: Sampler,
    *,
    episodes: int = 1000,
    text: Tensor | None = None,
    metric: str | Metric = "accuracy",
    keep_predictions: bool = False,
    device: torch.device | str = "auto",
    chunk: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Results:
    """Evaluate all learners on the same episodes.

    A learner is any callable ``Episode -> logits [E, Q, N]``; it never sees the query labels. Memory is
    bounded whatever the number of episodes: one chunk of gathered rows (8 MiB on a CPU, 256 MiB on an
    accelerator, at least one episode), what the learner needs for a chunk, the indices of 1,024 episodes,
    and 8 bytes per episode and learner. Scores do not depend on the chunk.

    Args:
        learners: one learner, a list, or a mapping of names to learners; strings are spec strings, which
            the installed `fewshot` package resolves.
        source: the rows; or ``{"features": ..., "images": ...}`` when learners differ in their `inputs`.
        sampler: made from the labels of the same source.
        episodes: how many; a longer run continues a shorter one in `out`.
        text: one vector per dataset class ``[C, D]``, for learners that use class text.
        metric: what is measured in each episode: ``"accuracy"``, ``"balanced-accuracy"`` (mean over classes),
            ``"macro-f1"``, ``"ece"``, ``"log-loss"``; or, where a sampler draws queries of none of the classes
            (`OpenSetSampler`), ``"auroc"`` or ``"fpr95"`` of the learner's outlier scores: its own
            ``outlier_score(episode, logits) [E, Q]`` if it has one, else the log-odds against the most
            likely class; or a `Metric` of your own.
        keep_predictions: keep the prediction for each query, 24 bytes for each, for ``Result.predictions``,
            ``Result.confusion()`` and ``Result.per_class()``; with `out`, in a folder beside it.
        device: ``"auto"`` is the device of the rows if that is an accelerator, else CUDA if there is one.
        chunk: episodes per batch; by default as many as keep the gathered rows within the bound above. It
            is halved when memory runs out.
        out: a JSON Lines file: finished cells in it are not computed again, new ones are added, and a run that
            was interrupted resumes.
        progress: show a bar on a terminal, and say how much was known already.

    Returns:
        Per-episode scores with the full recipe.

    Raises:
        ValueError: sampler and source disagree, a learner needs rows or text that are not given, or its
            logits have the wrong shape or are not finite; the message names learner and episodes.

    >>> from episodes import EpisodeSampler, TensorSource
    >>> source = TensorSource(torch.eye(3).repeat_interleave(20, 0), [0] * 20 + [1] * 20 + [2] * 20)
    >>> sampler = EpisodeSampler(source.labels, way=2, shot=1, query=5)
    >>> results = evaluate("prototypes", source, sampler, episodes=10)
    >>> print(results["prototypes"])
    100.00 ± 14.78 (95 %, 10 episodes)
    """
    check_arguments(learners, source, sampler)
    if isinstance(episodes, bool) or not isinstance(episodes, (int, np.integer)) or episodes < 1:
        raise ValueError(f"episodes={episodes!r}; it must be at least 1, and whole.")
    if text is not None and not isinstance(text, Tensor):
        raise ValueError(f"text is {type(text).__name__}; it must be a tensor [C, D], one vector per dataset class.")
    available = getattr(sampler, "available", None)
    if available is not None and episodes > available:
        raise ValueError(f"episodes={episodes}, but {sampler!r} has {available}; ask for at most that many.")
    measured = load_metric(metric)
    if measured.function is None:
        raise ValueError(f"metric {measured.name!r} was read from a file and has no function; construct it again.")
    if measured.open_set and not (sampler.draw(0, 1).targets == OPEN).any():
        raise ValueError(
            f"metric={measured.name!r} needs queries of none of the classes; {sampler!r} draws none; "
            "take OpenSetSampler (--sampler open-set)."
        )
    named = name_learners(learners)
    sources = dict(source) if isinstance(source, Mapping) else {"": source}
    first_source = next(iter(sources.values()))
    _check_rows(sampler, first_source)
    place = choose_device(device, held=getattr(getattr(first_source, "features", None), "device", None))
    evaluation = _evaluation(first_source, sampler, text)
    if measured.name != "accuracy" or measured.recipe() != "accuracy":
        evaluation["metric"] = measured.recipe()
    environment = _environment(place)
    file = ResultsFile(out) if out is not None else None

    cells = [
        Cell(name, learner, sources, evaluation, episodes, place, text, measured, keep_predictions)
        for name, learner in named.items()
    ]
    for cell in cells:
        if file is not None:
            _refuse_unknown(cell, file)
            cell.resume(*file.progress(cell.key), file.predictions(cell.key) if keep_predictions else None)
    todo = [cell for cell in cells if cell.done < episodes]
    if progress and len(todo) < len(cells):
        _LOG.info("%d of %d cells are in %s already.", len(cells) - len(todo), len(cells), out)
    try:
        with _evaluation_mode(todo):
            _run(todo, sampler, episodes, place, text, chunk, file, progress)
        for cell in todo:
            cell.draw_maps(sampler)
        finished = []
        for cell in cells:
            known_cell = file.finished(cell.key) if file is not None else None
            seconds = cell.seconds + (known_cell.seconds if known_cell else 0.0)
            result = cell.result(environment, seconds)
            if file is not None and (known_cell is None or known_cell.episodes < episodes):
                result = file.append(result)
            elif file is not None and keep_predictions:  # scores were known, predictions perhaps not
                result = file.keep(result) if cell in todo else result.with_kept(file.kept_at(cell.key))
            finished.append(result)
    except BaseException:
        try:
            _save_progress(todo, file)
        except OSError as error:
            _LOG.warning("what was computed so far could not be saved: %s", error)
        raise
    return Results(finished)


def name_learners(
    learners: Learns | str | Sequence[Learns | str] | Mapping[str, Learns | str],
) -> dict[str, Learns]:
    """Learners by name, spec strings resolved.

    Raises:
        ValueError: two learners of one name, or none at all.
    """
    if isinstance(learners, Mapping):
        pairs = list(learners.items())
    else:
        listed = [learners] if isinstance(learners, str) or callable(learners) else list(learners)
        pairs = [(_name(learner), learner) for learner in listed]
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not pairs:
        what = f"two learners are called {twice[0]!r}" if twice else "no learners given"
        raise ValueError(f'{what}; give a mapping of distinct names, like {{"mine": learner}}.')
    return {name: _resolve(learner) if isinstance(learner, str) else learner for name, learner in pairs}


def _run(
    cells: list[Cell],
    sampler: Sampler,
    episodes: int,
    device: torch.device,
    text: Tensor | None,
    chunk: int | None,
    file: ResultsFile | None,
    progress: bool,
) -> None:
    """Fill the scores of all cells, each from its first missing episode."""
    if not cells:
        return
    start = min(cell.done for cell in cells)
    resident = {id(cell.source): _on_device(cell.source, device) for cell in cells}
    row_bytes = {held: source[torch.zeros(1, dtype=torch.int64)].nbytes for held, source in resident.items()}
    buffers: dict[int, Tensor | None] = {}
    text = text.to(device) if text is not None else None
    saved = time.monotonic()
    with torch.no_grad(), progress_bar(episodes, start, "episodes", show=progress) as bar:
        for first in range(start, episodes, _BLOCK):
            count = min(_BLOCK, episodes - first)
            block = sampler.draw(first, count)
            parts = [(places, part.to(device)) for places, part in block.groups()]
            for group in _by_source(cells):
                held = id(group[0].source)
                scores = {cell.name: torch.zeros(count, dtype=torch.float64, device=device) for cell in group}
                for places, drawn in parts:
                    rows, here = drawn.rows, places.to(device)
                    size, done = chunk or _chunk_size(row_bytes[held], rows.shape[1], device), 0
                    while done < len(places):
                        part = slice(done, min(done + size, len(places)))
                        try:
                            gathered = _gather(resident[held], rows[part], buffers, size)  # [E, S + Q + U, *x]
                            episode, targets = drawn[part].episode(gathered, text)
                            for cell in group:
                                if first + int(places[part][-1]) >= cell.done:
                                    scores[cell.name][here[part]] = score(cell, episode, targets)
                        except OutOfMemory:
                            if size == 1:
                                raise
                            size, chunk = size // 2, size // 2
                            buffers.clear()
                            _LOG.warning("out of memory: continuing with %d episodes at a time.", size)
                            continue
                        done = part.stop
                for cell in group:
                    record(cell, scores[cell.name], block, first)
            bar.update(count)
            if time.monotonic() - saved > _SAVE_SECONDS:
                _save_progress(cells, file)
                saved = time.monotonic()


def _refuse_unknown(cell: Cell, file: ResultsFile) -> None:
    if "unknown" in cell.recipe["learner"]:
        raise ValueError(
            f"{cell.name!r} cannot be stored in {str(file.path)!r}: {cell.recipe['learner']['unknown']} Leave out=, or "
            "give a learner whose behaviour can be read."
        )


def _save_progress(cells: list[Cell], file: ResultsFile | None) -> None:
    for cell in cells:
        if file is not None and cell.done and cell.query_count is not None and not file.has(cell.key, cell.done):
            file.save_progress(cell.key, cell.scores[: cell.done], cell.query_count, cell.predictions)


@contextmanager
def _evaluation_mode(cells: list[Cell]) -> Iterator[None]:
    """Dropout and the like are off during the evaluation, and as they were afterwards."""
    modules = [cell.learner for cell in cells if isinstance(cell.learner, torch.nn.Module)]
    modes = {part: part.training for module in modules for part in module.modules()}
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():  # each for itself: a part may be held in another mode than the whole
            part.training = mode


def _gather(source: Source, rows: Tensor, buffers: dict[int, Tensor | None], size: int) -> Tensor:
    if not isinstance(source, TensorSource):
        return source[rows].to(rows.device)
    if id(source) not in buffers or ((out := buffers[id(source)]) is not None and len(out) < rows.numel()):
        buffers[id(source)] = source.buffer(size * rows.shape[1])
    return source.gather(rows, buffers[id(source)])


def _by_source(cells: Iterable[Cell]) -> list[list[Cell]]:
    groups: dict[int, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(id(cell.source), []).append(cell)
    return list(groups.values())


def _chunk_size(row_bytes: int, rows: int, device: torch.device) -> int:
    budget = _CHUNK_BYTES.get(device.type, _CHUNK_BYTES_ACCELERATOR)
    return max(1, min(_BLOCK, budget // max(1, row_bytes * rows)))


def _on_device(source: Source, device: torch.device) -> Source:
    return source.to(device) if hasattr(source, "to") else source


def _check_rows(sampler: Sampler, source: Source) -> None:
    rows = getattr(sampler, "rows", len(source))
    if rows != len(source):
        raise ValueError(
            f"the sampler was made for {rows} labels, but {source.name!r} has {len(source)} rows; "
            "make it from source.labels."
        )


def _evaluation(source: Source, sampler: Sampler, text: Tensor | None) -> dict[str, Any]:
    evaluation = {"dataset": {"name": source.name, "fingerprint": source.fingerprint()}, **sampler.recipe()}
    if text is not None:
        evaluation["text"] = digest_array(text)
    return evaluation


def _environment(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"python": platform.python_version(), **_versions(), "device": f"{device.type} ({name})",
            "threads": torch.get_num_threads(), "date": datetime.now(timezone.utc).date().isoformat()}  # fmt: skip


@cache
def _versions() -> dict[str, str]:
    """Of this package and of those that scores are computed by, as far as they are installed."""
    found = {}
    for name in ("fewshot", "torch", "numpy", "scipy", "scikit-learn"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _name(learner: Learns | str) -> str:
    if isinstance(learner, str):
        return learner
    if isinstance(learner, torch.nn.Module):
        text = repr(learner)
        return text if "\n" not in text else f"{type(learner).__name__}(...)"
    return getattr(learner, "__name__", type(learner).__name__)


def _resolve(spec: str) -> Learns:
    for point in entry_points(group="episodes.learners"):
        return point.load()(spec)
    raise ValueError(
        f"cannot make a learner of the string {spec!r}: no installed package resolves learner names. "
        "Install fewshot, or give a callable Episode -> logits."
    )

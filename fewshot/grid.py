"""`evaluate_grid`: many cells (learner x task) on any engine, resumed by the same call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.evaluation import evaluate
from episodes.learner_names import name_learners
from episodes.metrics import Metric
from episodes.progress import progress_bar
from episodes.result import Result
from episodes.results import Results
from episodes.samplers.sampler import Sampler
from episodes.source import TensorSource
from episodes.temporary import temporary_folder
from fewshot.engines import load_engine


def evaluate_grid(
    learners: Sequence[Any] | Mapping[str, Any],
    source: TensorSource | Mapping[str, TensorSource],
    samplers: Sequence[Sampler],
    *,
    out: str | os.PathLike[str],
    episodes: int = 1000,
    engine: Any = None,
    text: Tensor | None = None,
    metric: str | Metric = "accuracy",
    keep_predictions: bool = False,
    device: str = "auto",
    progress: bool = True,
    report: Callable[[str, Sampler, Result | Exception], Any] | None = None,
) -> Results:
    """Evaluate every learner on every task, cell by cell, wherever the engine runs them.

    Each worker adds its finished cells to the same results file. A cell is known by its recipe, so cells that
    are there are not computed again: run the same call after an interruption, or with more cells, on any
    engine. Rows are passed to other processes once, as a file that all of them map into memory.

    Args:
        learners: spec strings, learners, or a mapping of names to them.
        source: the rows, features or images in memory; or ``{"features": ..., "images": ...}``, as in `evaluate`.
        samplers: one per task.
        out: the JSON Lines file that workers add to; workers on other machines must see its folder.
        episodes: per cell; a finite sampler gives at most what it has.
        engine: as in `fewshot.embed`: None, a number of processes, ``"ray"``, an executor.
        text: as in `evaluate`.
        metric: as in `evaluate`.
        keep_predictions: as in `evaluate`; predictions stay in their files, and are read when used.
        device: as in `evaluate`.
        progress: show a bar of cells.
        report: called with learner, sampler and result of each cell that is finished, or with the exception that it
            ended with; the other cells are then computed nevertheless. None: the first exception is raised.

    Returns:
        The cells of this grid, learner by learner.
    """
    named = name_learners(learners)
    runs = load_engine(engine)
    path = Path(out).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(f".{path.name}.rows-", path.parent) as folder:
        held = _held(source, None if engine is None else folder)
        shared = Shared(held, str(path), text, metric, keep_predictions, device, lenient=report is not None)
        cells = [
            Cell(name, learner, sampler, _limited(episodes, sampler), shared)
            for name, learner in named.items()
            for sampler in samplers
        ]
        with progress_bar(len(cells), 0, "cells", show=progress) as bar:
            found: dict[int, Results] = {}
            for number, result in runs.map(run_cell, [_Numbered(i, cell) for i, cell in enumerate(cells)]):
                if isinstance(result, Results):
                    found[number] = result
                if report is not None:
                    cell = cells[number]
                    report(cell.name, cell.sampler, result.cells[0] if isinstance(result, Results) else result)
                bar.update(1)
    return Results([cell for number in sorted(found) for cell in found[number].cells])


def _limited(episodes: int, sampler: Sampler) -> int:
    return min(episodes, getattr(sampler, "available", None) or episodes)


@dataclass(frozen=True)
class Shared:
    """What all cells of a grid have in common."""

    source: dict[str, Any]
    out: str
    text: Tensor | None
    metric: str | Metric
    keep_predictions: bool
    device: str
    lenient: bool


@dataclass(frozen=True)
class Cell:
    """One learner on one task: all that a worker needs."""

    name: str
    learner: Any
    sampler: Sampler
    episodes: int
    shared: Shared


@dataclass(frozen=True)
class _Numbered:
    number: int
    cell: Cell


def run_cell(task: _Numbered) -> tuple[int, Results | Exception]:
    """Evaluate one cell, or read it from the results file. Running it twice does no harm."""
    cell, shared = task.cell, task.cell.shared
    try:
        source = {kind: rows.load() if isinstance(rows, _Rows) else rows for kind, rows in shared.source.items()}
        results = evaluate(
            {cell.name: cell.learner}, source.get("", source), cell.sampler,
            episodes=cell.episodes, text=shared.text, metric=shared.metric, keep_predictions=shared.keep_predictions,
            device=shared.device, out=shared.out, progress=False,
        )  # fmt: skip
    except Exception as error:
        if not shared.lenient:
            raise
        return task.number, error
    return task.number, results


def _held(source: TensorSource | Mapping[str, TensorSource], folder: Path | None) -> dict[str, TensorSource | _Rows]:
    """Sources by kind (``""`` where there is one), as files where other processes read them."""
    sources = dict(source) if isinstance(source, Mapping) else {"": source}
    return {kind: rows if folder is None else _Rows.of(rows, folder, kind) for kind, rows in sources.items()}


@dataclass(frozen=True)
class _Rows:
    """A source to be passed to other processes: rows in a file, the rest as it is."""

    path: str
    labels: Any
    class_names: list[str]
    name: str
    kind: str
    digest: str
    report: dict[str, Any] = field(hash=False)

    @classmethod
    def of(cls, source: TensorSource, folder: Path, kind: str) -> _Rows:
        path = folder / f"rows{kind}.npy"
        np.save(path, source.features.detach().cpu().numpy())
        labels = source.labels.numpy()
        return cls(str(path), labels, source.class_names, source.name, source.kind, source.fingerprint(), source.report)

    def load(self) -> TensorSource:
        return _mapped(self.path, self)


class _Mapped(TensorSource):
    """Rows of a file, known by the fingerprint of the source they were written from."""

    digest = ""

    def fingerprint(self) -> str:
        """The fingerprint of the original."""
        return self.digest


@lru_cache(maxsize=2)
def _load(path: str) -> np.memmap[Any, Any]:
    return np.load(path, mmap_mode="r")


def _mapped(path: str, rows: _Rows) -> TensorSource:
    source = _Mapped(
        _load(path), torch.from_numpy(rows.labels), rows.class_names,
        name=rows.name, kind=rows.kind, check_finite=False, report=rows.report,
    )  # fmt: skip
    source.digest = rows.digest
    return source

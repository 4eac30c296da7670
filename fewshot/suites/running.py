"""`run_suite`: every cell of a suite, each embedding once, what failed recorded and passed over."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from episodes.files import write_atomically
from episodes.progress import progress_bar
from episodes.result import Result
from fewshot.grid import evaluate_grid
from fewshot.suites.group_rows import GroupRows
from fewshot.suites.reading import load_suite
from fewshot.suites.suite import Dataset, Suite
from fewshot.suites.tables import CellName, Failure, SuiteResults, cell_names

# What data, encoders and learners raise with a message for users; anything else is a fault of the program.
_EXPECTED = (ValueError, ImportError, OSError, RuntimeError, LookupError, FloatingPointError, MemoryError)


def run_suite(
    suite: str | os.PathLike[str] | Suite,
    out: str | os.PathLike[str],
    *,
    only: Sequence[str] = (),
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    cache: Any = None,
    engine: Any = None,
    device: str = "auto",
    progress: bool = True,
) -> SuiteResults:
    """Run a suite, or go on with it.

    Cells that are in the folder already are not computed again, so the same call after an interruption resumes, and
    ends with the same tables, byte for byte. Every learner of a task gets the same episodes.

    Args:
        suite: a TOML file, the name of a suite that is shipped, or a `Suite`.
        out: folder for ``results.jsonl`` (which `fewshot compare` and `report` read), ``failures.json``,
            ``table.md`` and ``table.csv``.
        only: names of datasets; the others are left out, of the tables too.
        root: the folder of all datasets; by default the environment variable EPISODES_DATA, else ``data``.
        download: fetch datasets that are missing, where that is possible.
        cache: of embeddings, as in `fewshot.embed`.
        engine: where cells run, as in `evaluate_grid`.
        device: as in `evaluate`.
        progress: show a bar of cells, with the time left.

    Returns:
        The results, and what failed.

    Raises:
        ValueError: the suite is not sound, or `only` names none of its datasets.
    """
    held = suite if isinstance(suite, Suite) else load_suite(suite)
    stray = [name for name in only if name not in {dataset.name for dataset in held.datasets}]
    if stray:
        names = ", ".join(dataset.name for dataset in held.datasets)
        raise ValueError(f"only={stray[0]!r} is no dataset of {held.name!r}; there are: {names}.")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    datasets = [dataset for dataset in held.datasets if not only or dataset.name in only]
    results: dict[CellName, Result] = {}
    failures: list[Failure] = []
    groups = [(dataset, encoder) for dataset in datasets for encoder in dataset.encoders]
    counts = [len(list(cell_names(*group))) for group in groups]
    with progress_bar(sum(counts), 0, "cells", show=progress) as bar:

        def finish(name: CellName) -> None:
            bar.set_postfix_str(str(name), refresh=False)
            bar.update()

        for place, (dataset, encoder) in enumerate(groups):
            bar.set_postfix_str(f"{dataset.name} {encoder}".strip())
            group = _Group(dataset, encoder, folder / "results.jsonl", root, download, cache, engine, device, finish)
            for name, found in group.run():
                if isinstance(found, Result):
                    results[name] = found
                else:
                    failures.append(Failure(name, " ".join(f"{type(found).__name__}: {found}".split())))
            bar.update(sum(counts[: place + 1]) - bar.n)  # what failed as a whole
            _write(folder / "failures.json", json.dumps([asdict(entry) for entry in failures], indent=1) + "\n")
    chosen = {dataset.name for dataset in datasets}
    shown = replace(
        held, datasets=tuple(datasets), published=tuple(one for one in held.published if one.dataset in chosen)
    )
    finished = SuiteResults(shown, results, failures)
    _write(folder / "table.md", finished.to_markdown())
    _write(folder / "table.csv", finished.to_csv())
    return finished


@dataclass
class _Group:
    """A dataset with an encoder: what is loaded and embedded together."""

    dataset: Dataset
    encoder: str
    out: Path
    root: str | os.PathLike[str] | None
    download: bool
    cache: Any
    engine: Any
    device: str
    finish: Callable[[CellName], None]

    def run(self) -> Iterator[tuple[CellName, Result | Exception]]:
        """Every cell with its result or its error, as they finish; an error of many cells once, for all of them."""
        from fewshot.samplers import make_samplers

        dataset = self.dataset
        try:
            rows = GroupRows(dataset, self.encoder, self.root, self.download, self.cache, self.device)
        except _EXPECTED as error:
            yield CellName(dataset.name, self.encoder), error
            return
        learners: dict[str, Any] = {}
        for spec in dataset.learners:
            try:
                learners[spec] = rows.learner(spec)
            except _EXPECTED as error:
                yield CellName(dataset.name, self.encoder, spec), error
        for way in dataset.ways:
            for seed in dataset.seeds:
                number = len(rows.labelled.class_names) if way == "all" else int(way)
                shots, samplers = list(dataset.shots), list[Any]()
                while shots and not samplers:  # the most shots may be too many for the classes
                    try:
                        samplers = make_samplers(dataset.sampler, rows.labelled, [number], shots, dataset.query, seed)
                    except _EXPECTED as error:
                        shots.remove(most := max(shots))
                        yield CellName(dataset.name, self.encoder, way=way, shot=most), error
                for name, learner in learners.items():
                    yield from self._cells(name, learner, rows, dict(zip(shots, samplers, strict=False)), way)

    def _cells(
        self, name: str, learner: Any, rows: GroupRows, samplers: dict[int, Any], way: int | str
    ) -> Iterator[tuple[CellName, Result | Exception]]:
        """The cells of one learner: all shots."""
        found: list[tuple[CellName, Result | Exception]] = []
        shots = {id(sampler): shot for shot, sampler in samplers.items()}

        def note(learner: str, sampler: Any, outcome: Result | Exception) -> None:
            if isinstance(outcome, Exception) and not isinstance(outcome, _EXPECTED):
                raise outcome
            cell = CellName(self.dataset.name, self.encoder, learner, way, shots[id(sampler)], sampler.seed)
            found.append((cell, outcome))
            self.finish(cell)

        try:
            source, text = rows.rows(learner), rows.text(learner)
        except _EXPECTED as error:
            yield CellName(self.dataset.name, self.encoder, name, way), error
            return
        evaluate_grid(
            {name: learner}, source, list(samplers.values()), out=self.out, episodes=self.dataset.episodes, text=text,
            metric=self.dataset.metric, engine=self.engine, device=self.device, progress=False, report=note,
        )  # fmt: skip
        yield from found


def _write(path: Path, text: str) -> None:
    write_atomically(path, text.encode())

"""A suite's results as a table: a row for each learner with its encoder, then the figures that others published."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from episodes.printable import printable, spreadsheet_cell
from episodes.result import Result
from episodes.results import Results
from fewshot.suites.suite import Dataset, Suite


@dataclass(frozen=True)
class CellName:
    """Which cell of a suite; what is left out stands for all of them."""

    dataset: str
    encoder: str = ""
    learner: str = ""
    way: int | str | None = None
    shot: int | None = None
    seed: int | None = None

    def __str__(self) -> str:
        task = [f"{self.way}-way" if self.way else "", "" if self.shot is None else f"{self.shot}-shot"]
        return " ".join(part for part in (self.dataset, self.encoder, self.learner, *task) if part)


def cell_names(dataset: Dataset, encoder: str) -> Iterator[CellName]:
    """All cells of a dataset with an encoder, in the order of the table."""
    for learner in dataset.learners:
        for way in dataset.ways:
            for shot in dataset.shots:
                for seed in dataset.seeds:
                    yield CellName(dataset.name, encoder, learner, way, shot, seed)


@dataclass(frozen=True)
class Failure:
    """What could not be computed, and why."""

    cell: CellName
    error: str


@dataclass(frozen=True)
class SuiteResults:
    """What came of a suite.

    Attributes:
        suite: the suite.
        cells: results by cell.
        failures: what could not be computed.
    """

    suite: Suite
    cells: Mapping[CellName, Result]
    failures: Sequence[Failure] = field(default_factory=tuple)

    @property
    def results(self) -> Results:
        """The cells in the order of the suite, for `compare` and `report`."""
        return Results(cell for dataset in self.suite.datasets for _, cell in self._in_order(dataset))

    def _in_order(self, dataset: Dataset) -> Iterator[tuple[CellName, Result]]:
        for encoder in dataset.encoders:
            for name in cell_names(dataset, encoder):
                if name in self.cells:
                    yield name, self.cells[name]

    def rows(self) -> Iterator[dict[str, str | float | None]]:
        """One row per dataset, encoder, learner, way and shot: score and half of the 95 % interval, over the seeds.

        Of S seeds the score is the mean of means and the interval ``sqrt(sum of squared halves) / S``.
        """
        for dataset in self.suite.datasets:
            seeds: dict[CellName, list[Result]] = {}
            for name, cell in self._in_order(dataset):
                seeds.setdefault(replace(name, seed=None), []).append(cell)
            for name, found in seeds.items():
                metric, count = found[0].metric, len(found)
                half = math.sqrt(sum(cell.ci95**2 for cell in found)) / count
                yield {
                    "dataset": name.dataset, "method": name.learner, "encoder": name.encoder, "way": str(name.way),
                    "shot": str(name.shot), "score": metric.scaled(sum(cell.mean for cell in found) / count),
                    "half": metric.scaled(half), "episodes": str(sum(cell.episodes for cell in found)),
                    "metric": metric.name, "source": "measured",
                }  # fmt: skip
        for known in self.suite.published:
            yield {
                "dataset": known.dataset, "method": known.method, "encoder": known.encoder, "way": str(known.way),
                "shot": str(known.shot), "score": known.score, "half": known.half, "episodes": "",
                "metric": "accuracy", "source": known.source or "published",
            }  # fmt: skip

    def to_csv(self) -> str:
        """One line per figure, those of others with their source."""
        written = io.StringIO()
        lines = csv.writer(written, lineterminator="\n")
        names = ("dataset", "method", "encoder", "way", "shot", "score", "half", "episodes", "metric", "source")
        lines.writerow(names)
        for row in self.rows():
            lines.writerow([_number(row[name], 3) if name in ("score", "half") else spreadsheet_cell(str(row[name]))
                            for name in names])  # fmt: skip
        return written.getvalue()

    def to_markdown(self) -> str:
        """A table for each dataset, the figures of others below those measured, with what failed at the end."""
        rows = list(self.rows())
        parts = [f"# {self.suite.title}", *([self.suite.notes] if self.suite.notes else [])]
        for dataset in self.suite.datasets:
            own = [row for row in rows if row["dataset"] == dataset.name]
            if own:
                parts.append(_table(dataset.name, own))
        if self.failures:
            parts.append("\n".join(["Failed:", "", *(f"- {entry.cell}: {_cell(entry.error)}"
                                                     for entry in self.failures)]))  # fmt: skip
        said = "± is half of the 95 % interval over sampled episodes."
        if self.suite.published:
            said += (
                " Figures with a source were published by others, on other networks, rows or episodes: read them as a "
                "scale, not as a comparison."
            )
        parts.append(said)
        return "\n\n".join(parts) + "\n"


def _table(name: str, rows: Sequence[Mapping[str, str | float | None]]) -> str:
    tasks = list(dict.fromkeys((str(row["way"]), str(row["shot"])) for row in rows))
    lines: dict[tuple[str, str, str], dict[tuple[str, str], str]] = {}
    for row in rows:
        source = "" if row["source"] == "measured" else str(row["source"])
        line = lines.setdefault((str(row["method"]), str(row["encoder"]), source), {})
        half = "" if row["half"] is None else f" ± {_number(row['half'], 2)}"
        line[str(row["way"]), str(row["shot"])] = _number(row["score"], 2) + half
    columns = [
        ["method", *(_cell(method) for method, _, _ in lines)],
        ["encoder", *(_cell(encoder) for _, encoder, _ in lines)],
        *([f"{way}-way {shot}-shot", *(line.get((way, shot), "") for line in lines.values())] for way, shot in tasks),
        ["source", *(_cell(source) for _, _, source in lines)],
    ]
    shown = [column for column in columns if any(column[1:])]
    head, *body = zip(*shown, strict=True)
    rule = ["---:" if name.endswith("-shot") else "---" for name in head]
    return "\n".join([f"## {_cell(name)}", "", *(f"| {' | '.join(row)} |" for row in [head, rule, *body])])


def _number(value: object, digits: int) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else f"{value:.{digits}f}"


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|")

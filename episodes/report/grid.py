"""`Grid`: results as learners by tasks, one for each metric, the best of each task marked, and notes about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from episodes.comparison import compare
from episodes.metrics import Metric
from episodes.naming import dataset_names, learner_names, shared_encoder, task_names
from episodes.result import HasCells, Result, cells_of, group_by_evaluation
from episodes.samplers.task_label import classes_note
from episodes.statistics import holm

_INTERVALS = {
    "episodes": "over sampled episodes: the dataset is taken as given",
    "disjoint": "over disjoint episodes: the sampling of the data is covered too",
}


@dataclass(frozen=True)
class Grid:
    """Cells of one metric by learner (row) and task (column).

    Attributes:
        metric: what is in the cells.
        learners: row names.
        tasks: column names.
        cells: by (learner, task).
        best: cells with the best mean on their task.
        near: cells that do not differ from the best at the 5 % level (paired, exact, Holm).
        notes: which interval, over how many episodes, and who was allowed to see more than the others.
        datasets: the name of each column's dataset.
    """

    metric: Metric
    learners: list[str]
    tasks: list[str]
    cells: dict[tuple[str, str], Result]
    best: set[tuple[str, str]]
    near: set[tuple[str, str]]
    notes: list[str]
    datasets: list[str] = field(default_factory=list)

    def parts(self, most: int = 0) -> list[tuple[str, dict[str, str]]]:
        """Columns by dataset: its name, and what each task is called beside it.

        All together, without a name, where there is one dataset, or one task of each.

        Args:
            most: so many columns stay together whatever their datasets.
        """
        count = len(set(self.datasets))
        if count < 2 or count == len(self.tasks) or len(self.tasks) <= most:
            return [("", {task: task for task in self.tasks})]
        found: dict[str, dict[str, str]] = {}
        for dataset, task in zip(self.datasets, self.tasks, strict=True):
            found.setdefault(dataset, {})[task] = task.removeprefix(f"{dataset} ")
        return list(found.items())

    def legend(self, best: str, near: str) -> list[str]:
        """What the two signs mean, if there are any."""
        if self.near:
            return [f"{best} best, {near} not significantly different from it (paired exact test, Holm, 5 %)"]
        return [f"{best} best (paired exact test against the others, Holm, 5 %)"] if self.best else []


def grids(results: HasCells | Iterable[Result]) -> list[Grid]:
    """One table for each metric, in order of first appearance."""
    by_metric: dict[Metric, list[Result]] = {}
    for cell in cells_of(results):
        by_metric.setdefault(cell.metric, []).append(cell)
    return [_grid(metric, cells) for metric, cells in by_metric.items()]


def _grid(metric: Metric, results: list[Result]) -> Grid:
    """Arrange results; comparisons on a task are paired."""
    cells: dict[tuple[str, str], Result] = {}
    best: set[tuple[str, str]] = set()
    near: set[tuple[str, str]] = set()
    names = dict(zip(map(id, results), learner_names(results), strict=True))
    groups = group_by_evaluation(results)
    columns = task_names([group[0] for group in groups])
    for group, column in zip(groups, columns, strict=True):
        cells.update({(names[id(cell)], column): cell for cell in group})
        if len(group) < 2:
            continue
        top = group[0]
        for cell in group[1:]:
            top = cell if metric.better(cell.mean, top.mean) else top
        best.update((names[id(cell)], column) for cell in group if cell.mean == top.mean)
        others = [cell for cell in group if cell is not top]
        adjusted = holm([compare(top, cell).p_value for cell in others])
        near.update((names[id(cell)], column) for cell, p in zip(others, adjusted, strict=True) if p > 0.05)
    return Grid(
        metric, list(dict.fromkeys(names.values())), columns, cells, best, near - best,
        [*_notes(results, groups, columns), *_settings(results, names)],
        dataset_names([group[0] for group in groups]),
    )  # fmt: skip


def _notes(results: list[Result], groups: list[list[Result]], columns: list[str]) -> list[str]:
    notes = []
    for interval in dict.fromkeys(cell.interval for cell in results):
        counts = sorted({cell.episodes for cell in results if cell.interval == interval})
        many = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
        notes.append(f"± is the 95 % interval {_INTERVALS[interval]}; {many} episode{'s' if counts[-1] > 1 else ''}")
    if encoder := shared_encoder(results):
        notes.append(f"encoder: {encoder}")
    if not all(cell.informative for cell in results):
        notes.append("± ?: too few episodes, or too much alike, for an interval")
    for group, column in zip(groups, columns, strict=True):
        if note := classes_note(group[0].evaluation):
            notes.append(f"{column}: episodes are drawn {note}")
    return notes


def _settings(results: list[Result], names: dict[int, str]) -> list[str]:
    """Learners by setting, where there are several."""
    by_setting: dict[str, list[str]] = {}
    for cell in results:
        if cell.setting is not None:
            by_setting.setdefault(cell.setting, []).append(names[id(cell)])
    if len(by_setting) < 2:
        return []
    commonest = max(by_setting, key=lambda name: len(by_setting[name]))
    others = "; ".join(f"{name}: {', '.join(dict.fromkeys(held))}" for name, held in by_setting.items()
                       if name != commonest)  # fmt: skip
    return [f"settings: {others}; the others are {commonest}"]


def folded(widths: list[int], width: int | None) -> list[list[int]]:
    """Columns of each part of a table, as many as fit beside the first; at least one.

    Args:
        widths: of each column, the first one that of the learners.
        width: letters of a line; None: all columns are one part.
    """
    parts: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        taken = widths[0] + sum(2 + widths[other] for other in [*parts[-1], column])
        if width is not None and parts[-1] and taken > width:
            parts.append([])
        parts[-1].append(column)
    return parts

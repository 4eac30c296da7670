"""Tables of results: learners by tasks, one table for each metric, the best of each task marked."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

from episodes.comparison import compare
from episodes.metrics import Metric
from episodes.naming import dataset_names, learner_names, shared_encoder, task_names
from episodes.printable import printable, spreadsheet_cell
from episodes.result import HasCells, Result, cells_of, group_by_evaluation
from episodes.samplers.task_label import classes_note
from episodes.statistics import holm

_INTERVALS = {
    "episodes": "over sampled episodes: the dataset is taken as given",
    "disjoint": "over disjoint episodes: the sampling of the data is covered too",
}
_PAGE = 75  # letters that fit beside each other in LaTeX's own article, at 10 points
_LINES = 45  # of a table in LaTeX, so that it stays on its page
_NARROW = 40  # letters; notes are not folded further
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}",
}  # fmt: skip


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


def to_text(results: HasCells | Iterable[Result], width: int | None = None) -> str:
    """Aligned tables for a terminal, one for each metric; control characters in names are spelled out.

    Args:
        results: cells of any number of tasks.
        width: letters of a line; where tasks do not fit beside each other, each dataset has a table of its own, and
            tasks that do not fit there go below the others. None: all side by side.
    """
    tables = [_text(table, width) for table in grids(results)]
    return "\n\n".join(tables) or "no results"


def _text(table: Grid, width: int | None = None) -> str:
    lines = _lines(table, "", {task: task for task in table.tasks}, width)
    if len(lines) > len(table.learners) + 3:  # folded
        parts = ["\n".join(_lines(table, dataset, tasks, width)) for dataset, tasks in table.parts()]
        lines = ["\n\n".join(parts)]
    notes = [*table.notes, *table.legend("*", "~")]
    if width is not None:
        notes = [textwrap.fill(note, max(width, _NARROW), subsequent_indent="  ") for note in notes]
    return "\n".join([*lines, *notes])


def _lines(table: Grid, dataset: str, tasks: dict[str, str], width: int | None) -> list[str]:
    """Aligned lines of some tasks under the name of their dataset, folded to a width."""
    body = []
    for learner in table.learners:
        row = [learner]
        for task in tasks:
            cell = table.cells.get((learner, task))
            place = (learner, task)
            star = "*" if place in table.best else "~" if place in table.near else " "
            row.append(f"{cell.written()} {star}" if cell else "-  ")
        body.append(row)
    heading = printable(table.metric.heading)
    head = ["" if dataset else heading, *(f"{task}  " for task in tasks.values())]
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    lines = [f"{dataset}, {heading}"] if dataset else []
    for columns in _folded(widths, width):
        own = [
            "  ".join([row[0].ljust(widths[0]), *(row[column].rjust(widths[column]) for column in columns)])
            for row in [head, *body]
        ]
        rule = "-" * max(map(len, own))
        lines += [own[0].rstrip(), rule, *(line.rstrip() for line in own[1:]), rule]
    return lines


def to_html_table(results: HasCells | Iterable[Result]) -> str:
    """The same tables as HTML without any style, as notebooks show it; names are escaped."""
    return "\n".join(map(_html, grids(results))) or "<p>no results</p>"


def _html(table: Grid) -> str:
    head = "".join(f"<th>{escape(printable(cell))}</th>" for cell in (table.metric.heading, *table.tasks))
    lines = [f"<table><thead><tr>{head}</tr></thead><tbody>"]
    for learner in table.learners:
        cells = [f"<th>{escape(printable(learner))}</th>"]
        for task in table.tasks:
            cell, place = table.cells.get((learner, task)), (learner, task)
            shown = escape(cell.written()) if cell else "-"
            cells.append(
                f"<td>{f'<b>{shown}</b>' if place in table.best else shown}{' ~' if place in table.near else ''}</td>"
            )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    notes = [*table.notes, *table.legend("bold:", "~")]
    return "\n".join([*lines, "</tbody></table>", f"<p><small>{'<br>'.join(map(escape, notes))}</small></p>"])


def _folded(widths: list[int], width: int | None) -> list[list[int]]:
    """Columns of each part of a table, as many as fit beside the first; at least one."""
    parts: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        taken = widths[0] + sum(2 + widths[other] for other in [*parts[-1], column])
        if width is not None and parts[-1] and taken > width:
            parts.append([])
        parts[-1].append(column)
    return parts


def to_csv(results: HasCells | Iterable[Result]) -> str:
    """One row per cell, numbers as they are stored (accuracies as fractions).

    A name that a spreadsheet would take for a formula has an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["learner", "dataset", "way", "shot", "query", "seed", "episodes", "mean", "ci95", "interval", "seconds", "key",
         "metric", "higher_is_better"]
    )  # fmt: skip
    for cell in cells_of(results):
        evaluation = cell.evaluation
        names = [spreadsheet_cell(cell.learner), spreadsheet_cell(cell.dataset)]
        settings = [evaluation.get(name) for name in ("query", "seed")]
        half = f"{cell.ci95:.6f}" if cell.ci95 == cell.ci95 else ""
        writer.writerow(
            [*names, cell.way, cell.shot, *(spreadsheet_cell(v) if isinstance(v, str) else v for v in settings),
             cell.episodes, f"{cell.mean:.6f}", half, cell.interval, f"{cell.seconds:.3f}", cell.key,
             spreadsheet_cell(cell.metric.name), cell.metric.higher_is_better]
        )  # fmt: skip
    return out.getvalue()


def to_latex(results: HasCells | Iterable[Result]) -> str:
    """A booktabs table and its caption for each metric; the best of a task in bold, those not different underlined.

    Tasks that do not fit beside each other on a page are folded as `to_text` folds them, below the others in the same
    table; what does not fit below each other goes on in a further one.
    """
    return "\n".join(["% needs \\usepackage{booktabs}", *map(_latex, grids(results))])


def _latex(table: Grid) -> str:
    tabulars = _tabulars(table, "", {task: task for task in table.tasks})
    if len(tabulars) > 1:
        tabulars = [part for dataset, tasks in table.parts() for part in _tabulars(table, dataset, tasks)]
    most = max(1, _LINES // (len(table.learners) + 3))
    lines = [f"% {printable(table.metric.heading)}"]
    for first in range(0, len(tabulars), most):
        caption = rf"\caption{{{f'{_heading(table)}, continued.' if first else _caption(table)}}}"
        held = "\n\n\\medskip\n".join(tabulars[first : first + most])
        lines += [r"\begin{table}", r"\centering", caption, held, r"\end{table}"]
    return "\n".join(lines) + "\n"


def _tabulars(table: Grid, dataset: str, tasks: dict[str, str]) -> list[str]:
    """Some tasks under the name of their dataset, as many beside each other as fit on a page."""
    rows = [[learner, *(_written(table, learner, task) for task in tasks)] for learner in table.learners]
    shown = [["Learner", *tasks.values()], *rows]
    parts = []
    for columns in _folded([max(len(row[i]) for row in shown) for i in range(len(shown[0]))], _PAGE):
        chosen = [list(tasks)[column - 1] for column in columns]
        heading = [rf"\multicolumn{{{len(chosen) + 1}}}{{l}}{{{escape_latex(dataset)}}} \\"] if dataset else []
        head = ["Learner", *(escape_latex(tasks[task]) for task in chosen)]
        body = [[escape_latex(learner), *(_latex_cell(table, learner, task) for task in chosen)]
                for learner in table.learners]  # fmt: skip
        lines = [
            rf"\begin{{tabular}}{{l{'r' * len(chosen)}}}",
            r"\toprule",
            *heading,
            " & ".join(head) + r" \\",
            r"\midrule",
        ]
        lines += [" & ".join(row) + r" \\" for row in body]
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]))
    return parts


def _written(table: Grid, learner: str, task: str) -> str:
    """A cell without any mark."""
    cell = table.cells.get((learner, task))
    return cell.written() if cell else "-"


def _latex_cell(table: Grid, learner: str, task: str) -> str:
    place = (learner, task)
    if place not in table.cells:
        return "--"
    value = _written(table, learner, task).replace("±", r"\pm")
    if place in table.best:
        return rf"$\mathbf{{{value}}}$"
    return rf"\underline{{${value}$}}" if place in table.near else f"${value}$"


def _caption(table: Grid) -> str:
    """What is in the cells, which interval, and what bold and underlined mean."""
    parts = [*table.notes, *table.legend("bold:", "underlined:")]
    return ". ".join([_heading(table), *map(escape_latex, parts)]).replace("±", r"$\pm$") + "."


def _heading(table: Grid) -> str:
    return escape_latex(f"{table.metric.heading[0].upper()}{table.metric.heading[1:]}")


def escape_latex(text: str) -> str:
    """Text with LaTeX's special characters made harmless."""
    return "".join(_LATEX.get(character, character) for character in printable(text))

"""Tables of results as text, as HTML without style, and as CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterable
from html import escape

from episodes.printable import printable, spreadsheet_cell
from episodes.report.grid import Grid, folded, grids
from episodes.result import HasCells, Result, cells_of

_NARROW = 40  # letters; notes are not folded further


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
    for columns in folded(widths, width):
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

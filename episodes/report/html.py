"""One self-contained HTML page: tables, plot, comparisons, recipes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

from episodes.comparison import compare_all, format_p
from episodes.naming import learner_names, task_names
from episodes.printable import printable
from episodes.report.plot import plot_shots
from episodes.report.tables import grids
from episodes.result import HasCells, Result, cells_of, group_by_evaluation

_HARDEST = 20  # classes listed for each cell


def to_html(results: HasCells | Iterable[Result], title: str = "Few-shot results") -> str:
    """The results as one page without any external request; every text in it is escaped.

    The plot is left out where matplotlib is not installed.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("episodes.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda value: f"{100 * value:.2f}"
    environment.filters["p"] = format_p
    cells = cells_of(results)
    groups = group_by_evaluation(cells)
    tasks = dict(zip((group[0].evaluation_key for group in groups), task_names([g[0] for g in groups]), strict=True))
    names = dict(zip(map(id, cells), learner_names(cells), strict=True))

    def called(cell: Result) -> str:
        return f"{names[id(cell)]}, {tasks[cell.evaluation_key]}, {printable(cell.metric.name)}"

    compared = [
        {
            "name": f"{tasks[group[0].evaluation_key]}, {printable(group[0].metric.heading)}",
            "comparisons": compare_all(group),
        }
        for group in groups
    ]
    recipes = [
        {"name": called(cell), "key": cell.key,
         "text": json.dumps({"recipe": cell.recipe, "environment": cell.environment,
                             "provenance": cell.provenance}, indent=1)}
        for cell in cells
    ]  # fmt: skip
    predictions = [_of_predictions(cell, called(cell)) for cell in cells if cell.kept is not None]
    return environment.get_template("report.html").render(
        title=printable(title), tables=grids(cells), tasks=compared, recipes=recipes, predictions=predictions,
        plot=_plot(cells),
    )  # fmt: skip


def _of_predictions(cell: Result, name: str) -> dict[str, Any]:
    """Scores over all predictions of a cell together, and its hardest classes."""
    try:
        kept, classes = cell.predictions, cell.per_class()
    except ValueError as error:
        return {"name": name, "missing": str(error)}
    hardest = sorted((one for one in classes if one.queries), key=lambda one: one.accuracy)[:_HARDEST]
    return {
        "name": name, "missing": "", "accuracy": kept.accuracy,
        "balanced": kept.balanced_accuracy, "macro_f1": kept.macro_f1,
        "ece": kept.calibration_error(), "log_loss": kept.log_loss, "classes": len(classes),
        "hardest": [{"name": printable(one.name), "score": one} for one in hardest],
    }  # fmt: skip


def _plot(cells: list[Result]) -> str:
    try:
        figure = plot_shots(cells)
    except (ImportError, ValueError):
        return ""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]

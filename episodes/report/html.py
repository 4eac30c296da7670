"""One self-contained HTML page: tables, plot, comparisons, recipes."""

from __future__ import annotations

import io
import json

from episodes.comparison import compare_all, describe_exam, format_p
from episodes.report.tables import grid
from episodes.results import Results


def to_html(results: Results, title: str = "Few-shot results") -> str:
    """The results as one page without any external request; every text in it is escaped.

    The plot is left out where matplotlib is not installed.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("episodes.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda value: f"{100 * value:.2f}"
    environment.filters["signed"] = lambda value: f"{100 * value:+.2f}"
    environment.filters["p"] = format_p
    exams = [{"name": describe_exam(exam.cells[0]), "comparisons": compare_all(exam)} for exam in results.exams()]
    recipes = [
        {"name": f"{cell.learner}, {describe_exam(cell)}", "key": cell.key,
         "text": json.dumps({"recipe": cell.recipe, "environment": cell.environment,
                             "provenance": cell.provenance}, indent=1, ensure_ascii=False)}
        for cell in results.cells
    ]  # fmt: skip
    return environment.get_template("report.html").render(
        title=title, table=grid(results), exams=exams, recipes=recipes, plot=_plot(results)
    )


def _plot(results: Results) -> str:
    from episodes.report.plot import plot_shots

    try:
        figure = plot_shots(results)
    except (ImportError, ValueError):
        return ""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]

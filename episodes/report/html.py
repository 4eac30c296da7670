"""One self-contained HTML page: summary, tables, charts, comparisons, answers, recipes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from episodes.comparison import compare, compare_all
from episodes.naming import learner_names, task_names
from episodes.printable import printable
from episodes.report.charts import bar, differences, shots
from episodes.report.forest import forest
from episodes.report.grid import grids
from episodes.report.overview import best_of_tasks, same_episodes, standings, summary
from episodes.report.queries import Budget, answers, source_of
from episodes.report.recipes import as_json, citation, command, days, in_words, package_version
from episodes.report.rendering import drawn, render
from episodes.report.svg import picture
from episodes.result import HasCells, Result, cells_of, group_by_evaluation

_WIDE = 600.0
_LINES = 24  # of a chart of differences
_DETAILED = 24  # cells whose answers are shown


def to_html(
    results: HasCells | Iterable[Result], title: str = "Few-shot results", *, pictures: Any = None,
    sections: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """The results as one page without any external request; every text in it is escaped.

    Args:
        results: cells of any number of tasks.
        title: of the page.
        pictures: the source that was evaluated, as images, to show wrong answers of the hardest episodes where answers
            were kept; of several datasets a list; None: they are named by row.
        sections: further pages by their titles, each a whole HTML page, such as ``fewshot.inspect(...).html()``; they
            are shown in frames that run no scripts.

    Raises:
        ValueError: pictures of other classes than those of the answers.
    """
    cells = cells_of(results)
    given = [] if pictures is None else list(pictures) if isinstance(pictures, list | tuple) else [pictures]
    sources = {id(cell): source_of(cell, given) for cell in cells}
    groups = group_by_evaluation(cells)
    tasks = dict(zip((group[0].evaluation_key for group in groups), task_names([g[0] for g in groups]), strict=True))
    names = dict(zip(map(id, cells), learner_names(cells), strict=True))
    tables = grids(cells)

    def called(cell: Result) -> str:
        return f"{names[id(cell)]}, {tasks[cell.evaluation_key]}, {printable(cell.metric.name)}"

    compared = [
        {
            "name": f"{tasks[group[0].evaluation_key]}, {printable(group[0].metric.heading)}",
            "comparisons": compare_all(group),
        }
        for group in groups
        if len(group) > 1
    ]
    order = [standings(table) for table in tables]
    budget = Budget()
    kept = [cell for cell in cells if cell.kept is not None]
    detailed = _detailed(kept)
    found = differences(cells, order[0][0].learner if order and order[0] else None)
    return render(
        "report.html", title=printable(title), tables=tables, standings=order,
        best=[best_of_tasks(table) for table in tables], sentences=summary(tables), tasks=compared,
        charts=[drawn(one) for one in shots(cells)],
        forests={part: [{**one, "chart": drawn(one["chart"])} for one in found[part]] for part in found},
        encoders=_encoders(cells),
        answers=[answers(cell, called(cell), sources[id(cell)], budget) for cell in detailed],
        undetailed=len(kept) - len(detailed), sections=dict(sections or {}),
        recipes=[{"name": called(cell), "key": cell.key, "words": in_words(cell), "text": as_json(cell),
                  "command": command(cell)}
                 for cell in cells],
        version=package_version(), days=days(cells), today=date.today().isoformat(), citation=citation(),
    )  # fmt: skip


def _detailed(cells: list[Result]) -> list[Result]:
    """As many as a page shows in detail: the best learner of every task before the second one of any."""
    places: dict[int, int] = {}
    for group in group_by_evaluation(cells):
        best = sorted(group, key=lambda cell: cell.mean, reverse=group[0].metric.higher_is_better)
        places |= {id(cell): place for place, cell in enumerate(best)}
    chosen = {id(cell) for cell in sorted(cells, key=lambda cell: places[id(cell)])[:_DETAILED]}
    return [cell for cell in cells if id(cell) in chosen]


def _encoders(cells: list[Result]) -> list[dict[str, Any]]:
    """Each encoder against the best one, on the same episodes: a chart with a line for each learner and task."""
    groups = same_episodes(cells)
    encoders = list(dict.fromkeys(cell.learner for group, _ in groups for cell in group))
    won = [max(group, key=lambda cell: cell.mean * (1 if cell.metric.higher_is_better else -1)) for group, _ in groups]
    best = max(encoders, key=lambda name: sum(cell.learner == name for cell in won), default="")
    made = []
    for other in (name for name in encoders if name != best):
        bars = []
        for group, name in groups:
            by_name = {cell.learner: cell for cell in group}
            if {best, other} <= set(by_name):
                bars.append(replace(bar(compare(by_name[other], by_name[best])), name=name))
        if bars:
            content, height = forest(bars[:_LINES], heading=f"difference from {best}", width=_WIDE)
            title = f"{other} against {best}"
            chart = drawn(picture(content, _WIDE, height, title))
            made.append({"name": title, "chart": chart, "more": len(bars[_LINES:])})
    return made

"""The report's charts: scores against shots, paired differences, reliability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from episodes.comparison import Comparison, compare_all, format_p
from episodes.metrics import Metric
from episodes.naming import dataset_names, learner_names, task_names
from episodes.predictions import Predictions
from episodes.report.forest import Bar, forest
from episodes.report.line_chart import Series, extent, line_chart
from episodes.report.svg import picture
from episodes.result import Result, group_by_evaluation

_BINS = 10
_FEWEST = 10  # answers of a bin that is shown
_CHARTS = 12  # of differences, that are shown at once
_WIDTH = 440.0


def shots(cells: Sequence[Result]) -> list[str]:
    """A panel for each metric, dataset and way with a fixed number of shots; panels of a metric share their axis."""
    fixed = [cell for cell in cells if cell.shot is not None]
    names = dict(zip(map(id, cells), learner_names(cells), strict=True))
    colours = {name: number for number, name in enumerate(dict.fromkeys(names.values()))}
    panels: dict[tuple[Metric, str, int | None], dict[str, list[Result]]] = {}
    for cell in sorted(fixed, key=lambda cell: cell.shot or 0):
        panels.setdefault((cell.metric, cell.dataset, cell.way), {}).setdefault(names[id(cell)], []).append(cell)
    called = dict(zip((cell.dataset for cell in fixed), dataset_names(fixed, whole=True), strict=True))
    lines = {
        panel: [_line(name, own, colours[name]) for name, own in sorted(by.items(), key=lambda one: colours[one[0]])]
        for panel, by in panels.items()
    }
    limits = {
        metric: extent(
            v for panel, own in lines.items() if panel[0] == metric for one in own for v in (*one.low, *one.high)
        )
        for metric in {panel[0] for panel in panels}
    }
    made = []
    for (metric, dataset, way), own in lines.items():
        low, high = limits[metric]
        bounds = [metric.scaled(bound) for bound in metric.bounds]
        labels = sorted(
            {
                (_place(c.shot or 0), str(c.shot))
                for by in [panels[metric, dataset, way]]
                for held in by.values()
                for c in held
            }
        )
        title = f"{called[dataset]}, {way}-way" if way else called[dataset]
        inner = line_chart(
            own, labels, heading=f"{metric.heading}, band: 95 % interval", across="shots (support rows per class)",
            title=title, limits=(max(low, bounds[0]), min(high, bounds[1])), width=_WIDTH, height=330,
        )  # fmt: skip
        made.append(picture(inner, _WIDTH, 330, f"{title}: {metric.name} against shots"))
    return made


def _line(name: str, cells: list[Result], colour: int) -> Series:
    metric = cells[0].metric
    low, high = (metric.scaled(bound) for bound in metric.bounds)
    y = [float(metric.scaled(cell.mean)) for cell in cells]
    half = [float(metric.scaled(cell.ci95)) if cell.informative else 0.0 for cell in cells]
    lower = [max(low, value - h) for value, h in zip(y, half, strict=True)]
    upper = [min(high, value + h) for value, h in zip(y, half, strict=True)]
    return Series(name, [_place(cell.shot or 0) for cell in cells], y, lower, upper, colour)


def _place(shot: int) -> float:
    """On a logarithmic axis; zero shots stand one step left of one."""
    return math.log2(shot) if shot else -1.0


def differences(cells: Sequence[Result], reference: str | None) -> dict[str, Any]:
    """For each task, all other learners minus one: charts, and the tasks beyond the first twelve.

    Args:
        cells: results.
        reference: the learner that others are compared with; where a task lacks it, its best one.
    """
    groups = [group for group in group_by_evaluation(cells) if len(group) > 1]
    tasks = task_names([group[0] for group in groups], always_dataset=True)
    made = [_forest(group, task, reference) for group, task in zip(groups, tasks, strict=True)]
    return {"shown": made[:_CHARTS], "more": made[_CHARTS:]}


def _forest(group: list[Result], task: str, reference: str | None) -> dict[str, str]:
    names = learner_names(group)
    metric = group[0].metric
    if reference not in {cell.learner for cell in group} or len(set(names)) < len(names):
        order = sorted(group, key=lambda cell: cell.mean, reverse=metric.higher_is_better)
        reference = order[0].learner
    if sum(cell.learner == reference for cell in group) > 1:
        return {"task": task, "reference": "", "chart": ""}
    bars = [bar(one) for one in compare_all(group, reference)]
    content, height = forest(bars, heading=f"{metric.heading}: difference from {reference}", width=_WIDTH)
    return {
        "task": task,
        "reference": reference or "",
        "chart": picture(content, _WIDTH, height, f"{task}: differences"),
    }


def bar(comparison: Comparison) -> Bar:
    """A paired difference as an interval; green: better."""
    metric = comparison.metric
    sign = 1 if metric.higher_is_better else -1
    half = float(metric.scaled(comparison.ci95)) if comparison.informative else math.nan
    return Bar(
        comparison.a, float(metric.scaled(comparison.difference)), half,
        f"{metric.written(comparison.difference, sign=True)}, {format_p(comparison.p)}",
        comparison.p <= 0.05, better=sign * comparison.difference > 0,
    )  # fmt: skip


def reliability(kept: Predictions, colour: int = 0) -> str:
    """Share of right answers against confidence, in ten bins; dotted: a calibrated classifier."""
    confidence, right = kept.confidence.astype(float), (kept.predicted == kept.targets).astype(float)
    place = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    counts = np.bincount(place, minlength=_BINS)
    full = (counts >= _FEWEST).nonzero()[0]
    x = [float(confidence[place == one].mean() * 100) for one in full]
    y = [float(right[place == one].mean() * 100) for one in full]
    half = [
        100 * 1.96 * math.sqrt(max(v / 100 * (1 - v / 100), 0.25 / n) / n) for v, n in zip(y, counts[full], strict=True)
    ]
    own = Series(
        "right", x, y, [max(0.0, a - h) for a, h in zip(y, half, strict=True)],
        [min(100.0, a + h) for a, h in zip(y, half, strict=True)], colour,
    )  # fmt: skip
    calibrated = Series("calibrated", [0.0, 100.0], [0.0, 100.0], [0.0, 100.0], [0.0, 100.0], 8)
    ticks = [(float(value), str(value)) for value in (0, 25, 50, 75, 100)]
    inner = line_chart(
        [calibrated, own], ticks, heading="right answers in %", across="confidence in %", limits=(0.0, 100.0),
        width=320, height=280, legend=False,
    )  # fmt: skip
    return picture(inner, 320, 280, "reliability")

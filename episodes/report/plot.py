"""Scores against shots, with intervals."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from episodes.files import write_atomically
from episodes.metrics import Metric
from episodes.naming import learner_names
from episodes.printable import printable
from episodes.result import HasCells, Result, cells_of

# Okabe and Ito's palette, which colour-blind readers can tell apart (their yellow is too pale for lines).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX*"


def plot_shots(results: HasCells | Iterable[Result], path: str | os.PathLike[str] | None = None) -> Any:
    """Draw scores against shots, one line per learner and one panel per metric, dataset and way.

    Args:
        results: cells of at least one task with a fixed number of shots.
        path: file to write, ``.png``, ``.svg`` or ``.pdf``; the figure is returned either way.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no cell has a fixed number of shots.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "fewshot[report]"') from error
    cells = [cell for cell in cells_of(results) if cell.shot is not None]
    if not cells:
        raise ValueError("no result has a fixed number of shots, so there is nothing to plot against shots.")
    names = dict(zip(map(id, cells), learner_names(cells), strict=True))
    styles = {name: number for number, name in enumerate(dict.fromkeys(names.values()))}
    panels: dict[tuple[Metric, str, int | None], dict[str, list[Result]]] = {}
    for cell in sorted(cells, key=lambda cell: cell.shot or 0):
        panels.setdefault((cell.metric, cell.dataset, cell.way), {}).setdefault(names[id(cell)], []).append(cell)
    figure = Figure(figsize=(1.2 + 4.6 * len(panels), 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    metric = None
    for number, ((shown, dataset, way), lines) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), number + 1)
        for name in sorted(lines, key=styles.__getitem__):
            _draw_line(axes, lines[name], name, styles[name])
        _label_shots(axes, sorted({int(cell.shot or 0) for line in lines.values() for cell in line}))
        axes.set_title(plain(f"{dataset}, {way}-way" if way else dataset), fontsize=10.5, loc="left")
        axes.grid(axis="y", color="#dddddd", linewidth=0.7)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if shown != metric:
            metric = shown
            axes.set_ylabel(plain(f"{shown.heading}, band: 95 % interval"))
        if number == 0:
            axes.legend(frameon=False, fontsize=9, loc="best")
    if path is not None:
        _save(figure, Path(path))
    return figure


def _draw_line(axes: Any, cells: list[Result], name: str, style: int) -> None:
    metric = cells[0].metric
    low, high = (metric.scaled(bound) for bound in metric.bounds)
    colour = _COLOURS[style % len(_COLOURS)]
    x = [_place(cell.shot or 0) for cell in cells]
    halves = [metric.scaled(cell.ci95) if cell.informative else 0.0 for cell in cells]
    y = [metric.scaled(cell.mean) for cell in cells]
    lower = [max(low, mean - half) for mean, half in zip(y, halves, strict=True)]
    upper = [min(high, mean + half) for mean, half in zip(y, halves, strict=True)]
    axes.fill_between(x, lower, upper, color=colour, alpha=0.18, linewidth=0)
    axes.plot(
        x, y, color=colour, marker=_MARKERS[style % len(_MARKERS)], markersize=4.5, linewidth=1.6, label=plain(name)
    )


def _label_shots(axes: Any, shots: list[int]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([_place(shot) for shot in shots]))
    axes.xaxis.set_minor_locator(NullLocator())
    labels = {_place(shot): str(shot) for shot in shots}
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: labels.get(value, "")))
    axes.set_xlabel("shots (support rows per class)")


def plain(text: str) -> str:
    r"""A name as matplotlib shows it literally: no ``$\frac{1}$``, which it would try to typeset.

    A legend leaves out labels that begin with an underscore, so a space is put in front.
    """
    shown = printable(text).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _place(shot: int) -> float:
    """Zero shots stand one step left of one shot, since a logarithmic axis has no zero."""
    return float(shot) if shot else 0.5


def _save(figure: Any, path: Path) -> None:
    import io

    kind = path.suffix.lstrip(".").lower()
    if kind not in ("png", "svg", "pdf"):
        raise ValueError(f"cannot draw {path.name!r}; use .png, .svg or .pdf.")
    out = io.BytesIO()
    # No date and no random ids: the same results give the same file.
    figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_atomically(path, out.getvalue())

"""Accuracy against shots, with intervals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from episodes.results import Result, Results, write_atomically

# Okabe and Ito's palette, which colour-blind readers can tell apart (their yellow is too pale for lines).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX*"


def plot_shots(results: Results, path: str | os.PathLike[str] | None = None) -> Any:
    """Draw accuracy against shots, one line per learner and one panel per dataset and way.

    Args:
        results: cells of at least one exam with a fixed number of shots.
        path: file to write, ``.png``, ``.svg`` or ``.pdf``; the figure is returned either way.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no cell has a fixed number of shots.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "fewshot[report]"') from error
    panels: dict[tuple[str, int | None], list[Result]] = {}
    for cell in results.cells:
        if cell.shot is not None:
            panels.setdefault((cell.dataset, cell.way), []).append(cell)
    if not panels:
        raise ValueError("no result has a fixed number of shots, so there is nothing to plot against shots.")
    figure = Figure(figsize=(1.2 + 4.6 * len(panels), 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    names = list(results)
    for number, ((dataset, way), cells) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), number + 1)
        shots = sorted({int(cell.shot or 0) for cell in cells})
        for i, name in enumerate(names):
            mine = sorted((cell for cell in cells if cell.learner == name), key=lambda cell: cell.shot or 0)
            if not mine:
                continue
            colour = _COLOURS[i % len(_COLOURS)]
            x = [_place(cell.shot or 0) for cell in mine]
            y = [100 * cell.mean for cell in mine]
            low = [100 * (cell.mean - cell.ci95) for cell in mine]
            high = [100 * (cell.mean + cell.ci95) for cell in mine]
            axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(
                x,
                y,
                color=colour,
                marker=_MARKERS[i % len(_MARKERS)],
                markersize=4.5,
                linewidth=1.6,
                label=name,
            )
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator([_place(shot) for shot in shots]))
        axes.xaxis.set_minor_locator(NullLocator())
        labels = {_place(shot): str(shot) for shot in shots}
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _, labels=labels: labels.get(value, "")))
        axes.set_xlabel("shots (support rows per class)")
        axes.set_title(f"{dataset}, {way}-way" if way else dataset, fontsize=10.5, loc="left")
        axes.grid(axis="y", color="#dddddd", linewidth=0.7)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if number == 0:
            axes.set_ylabel("accuracy in %, band: 95 % interval")
            axes.legend(frameon=False, fontsize=9, loc="lower right")
    if path is not None:
        _save(figure, Path(path))
    return figure


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

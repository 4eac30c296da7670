"""A chart of lines with bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from episodes.printable import printable
from episodes.report.svg import COLOURS, shortened, tag, text, ticks, width_of

_Axis = Callable[[float], float]  # a value -> pixels


@dataclass(frozen=True)
class Series:
    """A line with its band.

    Attributes:
        name: in the legend.
        x: places, ascending.
        y: values.
        low: lower ends of the band.
        high: upper ends.
        colour: number of its colour.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    colour: int


def line_chart(
    series: Sequence[Series],
    labels: Sequence[tuple[float, str]],
    *,
    heading: str,
    across: str = "",
    title: str = "",
    limits: tuple[float, float] | None = None,
    width: float = 520,
    height: float = 320,
    legend: bool = True,
    slanted: bool = False,
    reference: float | None = None,
) -> str:
    """Elements of a chart of lines with bands, and its height: wrap them with `picture`.

    Args:
        series: lines.
        labels: places along x and what is written there.
        heading: what the values are, above.
        across: what x is, below.
        title: above the heading, in bold.
        limits: of the values; None: of the bands.
        width: in pixels.
        height: in pixels.
        legend: name the lines.
        slanted: write the labels slanted, where they are long.
        reference: a value with a dotted line.
    """
    names = [one.name for one in series] if legend else []
    rows = _wrapped([width_of(name) + 34 for name in names], width - 10)
    top = 18.0 + 20 * bool(title) + 20 * (1 + max(rows, default=-1)) + 12
    foot = (max((width_of(label) for _, label in labels), default=0) * 0.62 + 22 if slanted else 26) + 18 * bool(across)
    left, right = 44.0, width - 12
    bottom = height - foot
    low, high = limits or extent(value for one in series for value in (*one.low, *one.high, *one.y))
    places = [place for place, _ in labels]
    first, last = min(places, default=0.0), max(places, default=1.0)
    inner = 14 if last > first else (right - left) / 2

    def at(place: float) -> float:
        return left + inner + (right - left - 2 * inner) * (place - first) / ((last - first) or 1.0)

    def up(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / ((high - low) or 1.0)

    parts = [text(shortened(title, 0.88 * width), 2, 15, class_="head")] if title else []
    parts.append(text(heading, 2, 15.0 + 20 * bool(title), class_="soft"))
    for value in ticks(low, high):
        parts.append(tag("path", d=f"M{left:.0f} {up(value):.1f}H{right:.0f}", class_="grid"))
        parts.append(text(f"{value:g}", left - 6, up(value) + 4, text_anchor="end", class_="soft"))
    if reference is not None and low <= reference <= high:
        parts.append(tag("path", d=f"M{left:.0f} {up(reference):.1f}H{right:.0f}", class_="grid dots"))
    for place, label in labels:
        if slanted:
            turn = f"translate({at(place) + 4:.1f} {bottom + 16:.1f}) rotate(-38)"
            parts.append(tag("text", escape(printable(label)), transform=turn, text_anchor="end", class_="soft"))
        else:
            parts.append(text(label, at(place), bottom + 18, text_anchor="middle", class_="soft"))
    if across:
        parts.append(text(across, (left + right) / 2, height - 6, text_anchor="middle", class_="soft"))
    for one in series:
        parts.append(_band(one, at, up, low, high))
    for one in series:
        parts.append(_line(one, at, up))
    x = 4.0
    for number, one in enumerate(series if legend else []):
        if number and rows[number] != rows[number - 1]:
            x = 4.0
        y = 31.0 + 20 * bool(title) + 20 * rows[number]
        parts.append(tag("path", d=f"M{x:.0f} {y:.0f}h20", class_=f"line s{one.colour % COLOURS}"))
        parts.append(tag("circle", cx=x + 10, cy=y, r=3.5, class_=f"dot s{one.colour % COLOURS}"))
        parts.append(text(shortened(one.name, width - 40), x + 26, y + 4))
        x += width_of(one.name) + 34
    return "".join(parts)


def extent(values: Iterable[float]) -> tuple[float, float]:
    """Bounds that hold all finite values, with a little air."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    air = 0.05 * (high - low) or 0.5
    return low - air, high + air


def _band(one: Series, at: _Axis, up: _Axis, low: float, high: float) -> str:
    edges = [
        (at(x), up(min(max(a, low), high)), up(min(max(b, low), high)))
        for x, a, b in zip(one.x, one.low, one.high, strict=True)
        if math.isfinite(a) and math.isfinite(b)
    ]
    colour = f"s{one.colour % COLOURS}"
    if len(edges) == 1:
        (x, a, b) = edges[0]
        return tag("path", d=f"M{x:.1f} {a:.1f}V{b:.1f}", class_=f"line {colour}")
    points = [(x, b) for x, _, b in edges] + [(x, a) for x, a, _ in reversed(edges)]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return tag("path", d=f"M{path}Z", class_=f"band {colour}") if points else ""


def _line(one: Series, at: _Axis, up: _Axis) -> str:
    points = [(at(x), up(y)) for x, y in zip(one.x, one.y, strict=True) if math.isfinite(y)]
    colour = f"s{one.colour % COLOURS}"
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) if points else ""
    dots = "".join(tag("circle", cx=x, cy=y, r=3.5, class_=f"dot {colour}") for x, y in points)
    return (tag("path", d=path, class_=f"line {colour}") if len(points) > 1 else "") + dots


def _wrapped(widths: Sequence[float], room: float) -> list[int]:
    """The line on which each of these stands."""
    lines, line, used = [], 0, 0.0
    for width in widths:
        if used and used + width > room:
            line, used = line + 1, 0.0
        used += width
        lines.append(line)
    return lines

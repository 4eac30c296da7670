"""What was found inside a network, drawn: separability by stage, and maps of the rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from episodes.report.line_chart import Series, line_chart
from episodes.report.svg import COLOURS, picture, shortened, tag, text, width_of
from fewshot.transfer.inspection.planes import Plane
from fewshot.transfer.inspection.stage_rows import short_names

if TYPE_CHECKING:
    from fewshot.transfer.inspection.result import Inspection, View

SIDE = 150  # pixels of a map
_POINTS = 600  # rows drawn on a map
_SIZE = 520.0


def separability(found: Inspection, width: float = 440, height: float = 300) -> str:
    """Accuracy on left-out rows against depth: elements of a chart."""
    views = [("before tuning" if found.after else "linear classifier on each stage", found.before)]
    views += [("after tuning", found.after)] if found.after else []
    names = short_names(found.names)
    places = [float(place) for place in range(len(names))]
    series = []
    for colour, (name, view) in enumerate(views):
        shares = [100 * stage.accuracy for stage in view.stages]
        half = [100 * stage.interval for stage in view.stages]
        low = [max(0.0, share - h) for share, h in zip(shares, half, strict=True)]
        high = [min(100.0, share + h) for share, h in zip(shares, half, strict=True)]
        series.append(Series(name, places, shares, low, high, colour))
    counts = found.labels.bincount()
    chance = 100 * float(counts.max()) / len(found.labels)
    lowest = min(chance, *(value for one in series for value in one.low))
    highest = max(value for one in series for value in one.high)
    limits = (max(0.0, 10 * math.floor(lowest / 10)), min(100.0, 10 * math.ceil(highest / 10)))
    return line_chart(
        series, [(place, shortened(name, 110)) for place, name in zip(places, names, strict=True)],
        heading="accuracy on left-out rows in %, with 95 % intervals", limits=limits,
        width=width, height=height, slanted=True, reference=chance, legend=found.after is not None,
    )  # fmt: skip


def class_colours(found: Inspection) -> list[int]:
    """The colour of each class; with more classes than colours, the largest have their own and the rest are grey."""
    counts = found.labels.bincount(minlength=len(found.class_names))
    if len(counts) <= COLOURS:
        return list(range(len(counts)))
    grey = 8
    colours = [grey] * len(counts)
    own = [number for number in range(COLOURS) if number != grey]
    largest = sorted(range(len(counts)), key=lambda label: -int(counts[label]))
    for colour, label in zip(own, sorted(largest[: len(own)]), strict=False):
        colours[label] = colour
    return colours


def plane_map(plane: Plane, labels: Tensor, colours: list[int], side: float = SIDE) -> str:
    """Elements of a map: a dot for each row, in the colour of its class."""
    step = -(-len(labels) // _POINTS)
    points, shown = plane.points[::step], labels[::step]
    reach = float(plane.points.abs().quantile(0.98).clamp(min=1e-9)) * 1.25  # a stray row does not shrink all others
    at = (0.5 + 0.5 * (points / reach).clamp(-1, 1)) * (side - 8) + 4
    parts = [tag("rect", x=0.5, y=0.5, width=side - 1, height=side - 1, rx=6, class_="frame")]
    for label in shown.unique().tolist():
        own = at[shown == label].tolist()
        path = "".join(f"M{x:.1f} {side - y:.1f}h0" for x, y in own)
        parts.append(tag("path", d=path, class_=f"points s{colours[label]}"))
    return "".join(parts)


def map_pictures(found: Inspection) -> list[list[str]]:
    """A picture for each stage, before and after tuning."""
    colours = class_colours(found)
    views = [("before", found.before), *([("after", found.after)] if found.after else [])]
    return [
        [
            picture(plane_map(view.planes[stage], found.labels, colours), SIDE, SIDE, f"rows at {name}, {when} tuning")
            for when, view in views
        ]
        for stage, name in enumerate(found.names)
    ]


def whole_picture(found: Inspection) -> str:
    """The chart, and below it the maps of all stages: before in the first row, after in the second."""
    names, colours = short_names(found.names), class_colours(found)
    views: list[tuple[str, View]] = [("before tuning" if found.after else "", found.before)]
    views += [("after tuning", found.after)] if found.after else []
    gap, side = 12.0, 120.0
    width = max(_SIZE, 20 + len(names) * (side + gap))
    chart_height = 330.0
    parts = [line(f"{found.encoder} on {found.source}", 10, 22, width - 20)]
    parts.append(tag("g", separability(found, min(width - 20, 640), chart_height), transform="translate(10 34)"))
    y = chart_height + 62
    x = 10.0
    for label, name in enumerate(found.class_names):
        shown = shortened(name, 160)
        if x + width_of(shown) + 24 > width:
            x, y = 10.0, y + 20
        parts.append(tag("circle", cx=x + 5, cy=y - 4, r=4.5, class_=f"dot s{colours[label]}"))
        parts.append(text(shown, x + 14, y))
        x += width_of(shown) + 34
    y += 26
    for when, view in views:
        if when:
            parts.append(text(when, 10, y, class_="head"))
            y += 10
        for stage, name in enumerate(names):
            left = 10 + stage * (side + gap)
            inner = plane_map(view.planes[stage], found.labels, colours, side)
            parts.append(tag("g", inner, transform=f"translate({left:.0f} {y:.0f})"))
            parts.append(text(shortened(name, side), left, y + side + 15, class_="soft"))
        y += side + 40
    ground = tag("rect", x=0, y=0, width=width, height=y, style="fill: var(--paper)")
    return picture(ground + "".join(parts), width, y, f"inside {found.encoder}", alone=True)


def line(words: str, x: float, y: float, width: float) -> str:
    """A heading cut to fit."""
    return text(shortened(words, width), x, y, class_="head")

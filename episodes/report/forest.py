"""A chart of intervals, one below the other, around a line at 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from episodes.report.svg import shortened, tag, text, ticks, width_of


@dataclass(frozen=True)
class Bar:
    """An interval on a line of its own.

    Attributes:
        name: to its left.
        value: the middle.
        half: half of its width; NaN where it is not known.
        note: to its right.
        clear: whether it is shown as clearly different from 0.
        better: whether it is shown as the better side.
    """

    name: str
    value: float
    half: float
    note: str
    clear: bool
    better: bool


def forest(bars: Sequence[Bar], *, heading: str, width: float = 620) -> tuple[str, float]:
    """Elements of a chart of intervals around a line at 0, and its height in pixels.

    Args:
        bars: from top to bottom.
        heading: what the values are.
        width: in pixels.
    """
    names = min(max((width_of(bar.name) for bar in bars), default=0) + 12, width * 0.5)
    notes = max((width_of(bar.note) for bar in bars), default=0) + 12
    left, right, top, step = names, max(width - notes, names + 60), 34.0, 24.0
    ends = [end for bar in bars for end in _ends(bar)]
    reach = max((abs(end) for end in ends if math.isfinite(end)), default=1.0) * 1.06 or 1.0
    low, high = min(-0.15 * reach, *ends, 0.0), max(0.15 * reach, *ends, 0.0)
    low, high = (low * 1.06, high * 1.06)

    def at(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    height = top + step * len(bars) + 26
    parts = [text(heading, 2, 15, class_="soft")]
    for value in ticks(low, high, 4):
        parts.append(tag("path", d=f"M{at(value):.1f} {top - 8:.0f}V{height - 22:.0f}", class_="grid"))
        parts.append(text(f"{value:+g}" if value else "0", at(value), height - 8, text_anchor="middle", class_="soft"))
    parts.append(tag("path", d=f"M{at(0):.1f} {top - 8:.0f}V{height - 22:.0f}", class_="axis"))
    for number, bar in enumerate(bars):
        y = top + step * (number + 0.5) - 4
        first, last = _ends(bar)
        kind = ("s2" if bar.better else "s1") if bar.clear else "s8"
        parts.append(text(shortened(bar.name, names - 8), 2, y + 4))
        parts.append(tag("path", d=f"M{at(first):.1f} {y:.1f}H{at(last):.1f}", class_=f"line {kind}"))
        parts.append(tag("circle", cx=at(bar.value), cy=y, r=4.5, class_=f"dot {kind}"))
        parts.append(text(bar.note, width - notes + 12, y + 4, class_="soft"))
    return "".join(parts), height


def _ends(bar: Bar) -> tuple[float, float]:
    half = bar.half if math.isfinite(bar.half) else 0.0
    return bar.value - half, bar.value + half

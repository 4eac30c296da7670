"""A map of one episode: support rows as rings, queries as dots, wrong answers as numbered crosses."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

from episodes.episode_map import EpisodeMap
from episodes.predictions import Predictions
from episodes.printable import printable
from episodes.report.svg import COLOURS, picture, shortened, tag, text, width_of

_WIDTH, _PLOT = 440.0, 320.0


def map_chart(drawn: EpisodeMap, kept: Predictions, numbers: Mapping[int, int]) -> str:
    """The rows of an episode in the plane, coloured by their true class.

    Args:
        drawn: where they lie.
        kept: predictions, which hold those of this episode.
        numbers: what to write beside a wrong answer, by its place among the queries of the episode.
    """
    start = int(kept.counts[: drawn.episode].sum())
    classes = np.unique(drawn.classes)
    colours = {int(number): place % COLOURS for place, number in enumerate(classes)}
    names = [name_of(kept, int(number)) for number in classes]
    rows = _wrapped(names)
    top = 22.0 * (rows[-1][0] + 1) + 6
    x, y = (_scaled(values, room) for values, room in ((drawn.x, _WIDTH - 40), (-drawn.y, _PLOT - 40)))
    parts = [tag("rect", x=1.0, y=top, width=_WIDTH - 2, height=_PLOT, rx=4.0, class_="frame")]
    for (line, left), name, number in zip(rows, names, classes, strict=True):
        parts.append(tag("circle", cx=left + 6, cy=12 + 22.0 * line, r=5.0, class_=f"dot s{colours[int(number)]}"))
        parts.append(text(shortened(name, 150), left + 16, 16 + 22.0 * line))
    above: list[str] = []  # support and wrong answers lie over right ones
    for place in range(len(drawn.rows)):
        at, up, colour = 20 + float(x[place]), top + 20 + float(y[place]), f"s{colours[int(drawn.classes[place])]}"
        truth, row, query = name_of(kept, int(drawn.classes[place])), int(drawn.rows[place]), int(drawn.queries[place])
        if query < 0:
            above.append(
                _mark("circle", f"{truth}: labelled example, row {row}", cx=at, cy=up, r=7.0, class_=f"ring {colour}")
            )
            continue
        answer = start + query
        said = f"{name_of(kept, int(kept.predicted[answer]))} {100 * float(kept.confidence[answer]):.0f} %"
        if kept.predicted[answer] == kept.targets[answer]:
            parts.append(
                _mark("circle", f"{truth}: answered {said}, row {row}", cx=at, cy=up, r=4.0, class_=f"dot {colour}")
            )
            continue
        cross = f"M{at - 4:.1f} {up - 4:.1f}l8 8m0 -8l-8 8"
        above.append(_mark("path", f"{truth}: wrongly answered {said}, row {row}", d=cross, class_=f"cross {colour}"))
        if query in numbers:
            above.append(text(numbers[query], at + 6, up - 4, class_="head"))
    height = top + _PLOT + 2
    return picture("".join([*parts, *above]), _WIDTH, height, f"map of episode {drawn.episode}")


def map_caption(drawn: EpisodeMap) -> str:
    """What the plane is."""
    first, second = drawn.shares
    return (
        "The first two principal components of these rows as the learner was given them, "
        f"{100 * first:.0f} % and {100 * second:.0f} % of their variance: rows that look near may be apart in what "
        "the plane leaves out."
    )


def name_of(kept: Predictions, number: int) -> str:
    """The class as it is called, or its number."""
    return printable(kept.class_names[number]) if number < len(kept.class_names) else f"class {number}"


def _mark(shape: str, words: str, **attributes: object) -> str:
    """A mark with words that a pointer shows."""
    return tag(shape, tag("title", escape(words)), **attributes)


def _scaled(values: np.ndarray, room: float) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return np.full(len(values), room / 2) if high <= low else (values.astype(float) - low) / (high - low) * room


def _wrapped(names: list[str]) -> list[tuple[int, float]]:
    """Line and left edge of each name of the legend."""
    made, line, left = [], 0, 4.0
    for name in names:
        wide = 34 + min(width_of(name), 150)
        if left > 4 and left + wide > _WIDTH:
            line, left = line + 1, 4.0
        made.append((line, left))
        left += wide
    return made

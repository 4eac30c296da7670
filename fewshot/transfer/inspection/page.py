"""The page of an inspection."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from episodes.comparison import format_p
from episodes.report.rendering import drawn, render
from episodes.report.svg import picture
from fewshot.transfer.inspection.drawing import class_colours, map_pictures, separability
from fewshot.transfer.inspection.pictures import THUMBNAIL, data_uri, heat, overlaid, thumbnail
from fewshot.transfer.inspection.stage_rows import short_names

if TYPE_CHECKING:
    from fewshot.transfer.inspection.answers import Change
    from fewshot.transfer.inspection.measures import StageNumbers
    from fewshot.transfer.inspection.result import Closeup, Inspection, View

_CLASSES = 12  # of which all distances are shown
_PAIRS = 10  # the nearest, where there are more classes
_MAPS = 3  # rows whose activations are shown stage by stage
_MAP_SIDE = 56
_TEXT = 240  # letters of a text
_KINDS = {"fixed": "wrong before, right after", "broken": "right before, wrong after",
          "other": "wrong both times, in another way"}  # fmt: skip


def page(found: Inspection, title: str | None = None) -> str:
    """A whole HTML page."""
    return render("inside.html", package=_package(), title=title or f"Inside {found.encoder}", **_values(found))


def fragment(found: Inspection) -> str:
    """The same as part of a page, such as a notebook."""
    return render("inside.html", package=_package(), page=False, title=f"Inside {found.encoder}", **_values(found))


def _package() -> str:
    return __name__.rpartition(".")[0]


def _values(found: Inspection) -> dict[str, Any]:
    return {
        "found": found,
        "summary": summary(found),
        "chart": drawn(picture(separability(found), 440, 300, "accuracy on left-out rows by stage")),
        "stages": _stages(found),
        "maps": [
            {"name": name, "pictures": [drawn(one) for one in both],
             "shares": [view.planes[stage].share for view in _views(found)]}
            for stage, (name, both) in enumerate(zip(short_names(found.names), map_pictures(found), strict=True))
        ],
        "classes": list(zip(found.class_names, class_colours(found), strict=True)),
        "distances": _distances(found),
        "changes": _changes(found),
        "closeups": [_closeup(found, one) for one in found.closeups],
        "strips": [_strip(found, one) for one in found.closeups[:_MAPS] if one.maps],
        "when": ["before", "after"] if found.after else [""],
    }  # fmt: skip


def summary(found: Inspection) -> list[str]:
    """What there is to see, in sentences."""
    stages = found.before.stages
    first, last = stages[0], stages[-1]
    best = max(stages, key=lambda stage: stage.accuracy)
    said = [
        f"A linear classifier tells the {len(found.class_names)} classes apart with "
        f"{100 * first.accuracy:.1f} % accuracy at the first stage shown ({first.name}) and "
        f"{last.written} % on the features, over rows left out."
    ]
    if best is not last and best.accuracy - last.accuracy > last.interval:
        said.append(
            f"It does better inside the network, at {best.name} ({100 * best.accuracy:.1f} %), than on the features: "
            "the last stages are made for another task."
        )
    if last.accuracy - first.accuracy < -last.interval:
        said.append("The input itself serves better than the features: a hint of negative transfer.")
    gain = found.difference()
    if gain is not None and found.after is not None:
        kinds = [change.kind for change in found.changes]
        clear = "" if gain.p_value <= 0.05 else ", which chance alone may explain"
        said.append(
            f"Fine-tuning moves the accuracy of the answers from {100 * found.accuracy('before'):.1f} to "
            f"{100 * found.accuracy('after'):.1f} % ({100 * gain.mean:+.1f} ± {100 * gain.interval:.1f} points, "
            f"{format_p(gain.p_value)}{clear}): {kinds.count('fixed')} rows are put right, "
            f"{kinds.count('broken')} put wrong."
        )
        moved = [name for name, old, new in zip(found.names, stages, found.after.stages, strict=True)
                 if not _equal(old, new)]  # fmt: skip
        if moved:
            said.append(f"The first stage that fine-tuning changed is {moved[0]}.")
    return said


def _views(found: Inspection) -> list[View]:
    return [found.before, *([found.after] if found.after else [])]


def _stages(found: Inspection) -> list[dict[str, Any]]:
    gains = found.stage_differences()
    return [
        {
            "name": name, "full": found.names[number],
            "views": [view.stages[number] for view in _views(found)],
            "gain": gains[number] if gains else None,
            "same": found.after is not None and _equal(*(view.stages[number] for view in _views(found))),
        }
        for number, name in enumerate(short_names(found.names))
    ]  # fmt: skip


def _equal(before: StageNumbers, after: StageNumbers) -> bool:
    """Whether tuning left a stage as it was, but for sums in another order."""
    pairs = (before.within_between, after.within_between), (before.collapse, after.collapse)
    return all(one == other or math.isclose(one, other, rel_tol=1e-4) for one, other in pairs)


def _distances(found: Inspection) -> dict[str, Any]:
    """Distances of class means at the features: all of them, or the nearest pairs."""
    tables = [view.stages[-1].distances for view in _views(found)]
    names = found.class_names
    if len(names) == 2:
        return {"kind": "two", "values": [float(table[0, 1]) for table in tables]}
    if len(names) <= _CLASSES:
        off = ~np.eye(len(names), dtype=bool)
        low, high = min(table[off].min() for table in tables), max(table[off].max() for table in tables)
        rows = [
            [
                [(value, round(5 + 60 * (value - low) / ((high - low) or 1.0))) for value in row]
                for row in table.tolist()
            ]
            for table in tables
        ]
        return {"kind": "all", "tables": rows, "names": names}
    pairs = [(a, b) for a in range(len(names)) for b in range(a)]
    nearest = sorted(pairs, key=lambda pair: tables[-1][pair])[:_PAIRS]
    listed = [(names[a], names[b], [float(table[a, b]) for table in tables]) for a, b in nearest]
    return {"kind": "nearest", "pairs": listed}


def _changes(found: Inspection) -> list[dict[str, Any]]:
    """Changed answers by kind, those with pictures."""
    groups = []
    for kind, words in _KINDS.items():
        own = [change for change in found.changes if change.kind == kind]
        shown = [_shown(found, change) for change in own if change.row in found.examples]
        if own:
            groups.append({"kind": kind, "words": words, "count": len(own), "shown": shown})
    return groups


def _shown(found: Inspection, change: Change) -> dict[str, Any]:
    example = found.examples[change.row]
    is_text = isinstance(example, str)
    return {
        "change": change, "where": found.captions[change.row], "picture": None if is_text else data_uri(example),
        "text": _cut(example) if is_text else "",
    }  # fmt: skip


def _closeup(found: Inspection, one: Closeup) -> dict[str, Any]:
    views = []
    for answer, likely, importance in zip(one.answers, one.likely, one.importance, strict=True):
        words = None
        if one.picture is None:
            texts, falls = importance
            most = max((abs(fall) for fall in falls), default=0.0) or 1.0
            words = [(word, round(60 * abs(fall) / most), fall > 0)
                     for word, fall in zip(texts, falls, strict=True)]  # fmt: skip
        laid = None if one.picture is None else data_uri(overlaid(one.picture, importance))
        views.append(
            {"answer": answer, "likely": likely, "right": answer == one.truth, "overlay": laid, "words": words}
        )
    return {
        "truth": one.truth, "where": found.captions[one.row], "views": views,
        "picture": None if one.picture is None else data_uri(thumbnail(one.picture, THUMBNAIL)),
    }  # fmt: skip


def _strip(found: Inspection, one: Closeup) -> dict[str, Any]:
    short = dict(zip(found.names, short_names(found.names), strict=True))
    names = list(one.maps[0])
    return {
        "truth": one.truth, "where": found.captions[one.row], "names": [short[name] for name in names],
        "picture": data_uri(thumbnail(one.picture, _MAP_SIDE)),
        "rows": [[data_uri(heat(maps[name], _MAP_SIDE)) for name in names if name in maps] for maps in one.maps],
    }  # fmt: skip


def _cut(words: str) -> str:
    return words if len(words) <= _TEXT else f"{words[:_TEXT]}…"

"""Predictions that were kept: classes, confusions, calibration, and episodes with their maps and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from episodes.episode_map import hardest_and_typical
from episodes.pixels import to_pixels
from episodes.predictions import Predictions
from episodes.printable import printable
from episodes.report.charts import reliability
from episodes.report.map_chart import map_caption, map_chart, name_of
from episodes.report.rendering import drawn as in_svg
from episodes.result import Result

_HARDEST = 20  # classes listed for each cell
_CLASSES = 12  # of which the whole confusion table is shown
_CONFUSED = 10  # pairs of classes, where there are more
_EPISODES, _PICTURES = 2, 8  # hardest episodes, and wrong answers of each that are shown
_SIDE = 84  # pixels
_BUDGET = 1_300_000  # bytes of pictures and maps on a page


class Budget:
    """Bytes of pictures and maps that a page may still take."""

    def __init__(self, left: int = _BUDGET) -> None:
        self.left = left

    def uri(self, picture: Any) -> str:
        """A PIL image inside a page; empty once the page is full."""
        from PIL import ImageOps

        out = io.BytesIO()
        ImageOps.fit(picture.convert("RGB"), (_SIDE, _SIDE)).save(out, "JPEG", quality=78)
        self.left -= len(out.getvalue()) * 4 // 3
        return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}" if self.left > 0 else ""

    def chart(self, svg: str) -> Any:
        """A chart inside a page; None once the page is full."""
        self.left -= len(svg)
        return in_svg(svg) if self.left > 0 else None


def answers(cell: Result, name: str, source: Any, budget: Budget) -> dict[str, Any]:
    """What all answers of a cell together say.

    Args:
        cell: with answers.
        name: of the cell.
        source: the rows, for pictures; None: they are named by number.
        budget: of pictures.
    """
    try:
        kept, classes = cell.predictions, cell.per_class()
    except ValueError as error:
        return {"name": name, "missing": str(error)}
    hardest = sorted((one for one in classes if one.queries), key=lambda one: one.accuracy)[:_HARDEST]
    return {
        "name": name, "missing": "", "accuracy": kept.accuracy,
        "balanced": kept.balanced_accuracy, "macro_f1": kept.macro_f1,
        "ece": kept.calibration_error(), "log_loss": kept.log_loss, "classes": len(classes),
        "hardest": [{"name": printable(one.name), "score": one} for one in hardest],
        "confusion": confusion(kept), "reliability": in_svg(reliability(kept)),
        "episodes": shown_episodes(cell, kept, source, budget),
    }  # fmt: skip


def confusion(kept: Predictions) -> dict[str, Any]:
    """The whole table as shares of each class's queries, or the pairs that are confused most."""
    found = kept.confusion()
    share = found.counts / np.maximum(found.counts.sum(1, keepdims=True), 1)
    names = [printable(name) for name in found.names]
    if len(names) <= _CLASSES:
        rows = [
            (name, [(float(value), round(70 * float(value)), place == number) for place, value in enumerate(row)])
            for number, (name, row) in enumerate(zip(names, share, strict=True))
        ]
        return {"whole": True, "names": names, "rows": rows}
    off = share * ~np.eye(len(names), dtype=bool)
    order = np.argsort(-off, axis=None, kind="stable")[:_CONFUSED]
    pairs = [divmod(int(place), len(names)) for place in order]
    return {
        "whole": False,
        "pairs": [(names[a], names[b], float(off[a, b]), int(found.counts[a, b])) for a, b in pairs if off[a, b]],
    }


def shown_episodes(cell: Result, kept: Predictions, source: Any, budget: Budget) -> list[dict[str, Any]]:
    """The episodes with the lowest accuracy and a typical one: maps, and wrong answers, the surest first."""
    accuracies = kept.accuracies()
    stops = np.cumsum(kept.counts)
    maps = {one.episode: one for one in kept.maps}
    hardest = np.argsort(accuracies, kind="stable")[:_EPISODES].tolist()
    typical = [number for number in hardest_and_typical(accuracies)[1:] if number not in hardest]
    shown = []
    for episode in [*hardest, *typical]:
        first = int(stops[episode] - kept.counts[episode])
        queries = np.arange(first, stops[episode])
        wrong = queries[kept.predicted[queries] != kept.targets[queries]]
        surest = wrong[np.argsort(-kept.confidence[wrong], kind="stable")][:_PICTURES].tolist()
        drawn = maps.get(episode)
        numbers = {query - first: place for place, query in enumerate(surest, 1)}
        shown.append(
            {
                "number": episode, "accuracy": float(accuracies[episode]), "typical": episode in typical,
                "map": drawn and budget.chart(map_chart(drawn, kept, numbers)), "plane": drawn and map_caption(drawn),
                "unshown": len(wrong) - len(surest),
                "wrong": [
                    {
                        "row": int(kept.rows[query]), "truth": name_of(kept, int(kept.targets[query])),
                        "answer": name_of(kept, int(kept.predicted[query])), "likely": float(kept.confidence[query]),
                        "picture": picture_of(source, int(kept.rows[query]), budget),
                    }
                    for query in surest
                ],
            }
        )  # fmt: skip
    return shown


def picture_of(source: Any, row: int, budget: Budget) -> str:
    """A row's picture inside the page; empty where there is none."""
    if source is None or row >= len(source) or budget.left <= 0:
        return ""
    from PIL import Image

    if hasattr(source, "decode"):
        return budget.uri(source.decode(row))
    pixels = source[row]
    return budget.uri(Image.fromarray(to_pixels(pixels))) if pixels.ndim == 3 else ""


def source_of(cell: Result, sources: Sequence[Any]) -> Any:
    """The one of these sources that a cell was evaluated on: the same classes, and of several the same name.

    Raises:
        ValueError: none of them has the classes that the answers name.
    """
    if not sources or cell.kept is None:
        return None
    names = list(cell.predictions.class_names)
    embedding = cell.provenance.get("embedding")
    called = {cell.dataset, str(embedding.get("dataset")) if isinstance(embedding, dict) else cell.dataset}
    alike = [source for source in sources if not names or list(source.class_names) == names]
    if not alike:
        raise ValueError(
            f"the pictures are of classes {list(sources[0].class_names)[:3]}, but the answers of {cell.learner!r} of "
            f"{names[:3]}; give every dataset that was evaluated, or the results of this one alone."
        )
    return next((source for source in alike if source.name in called), alike[0])

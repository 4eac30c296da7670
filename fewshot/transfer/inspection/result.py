"""`Inspection`: what was found inside a network, as numbers, as a picture and as a page."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from episodes.files import write_atomically
from episodes.printable import printable
from fewshot.transfer.inspection.answers import Answers, Change, Difference, paired
from fewshot.transfer.inspection.measures import StageNumbers
from fewshot.transfer.inspection.planes import Plane


@dataclass(frozen=True)
class View:
    """One network: numbers and maps of its stages, and its answers.

    Attributes:
        stages: numbers, from the input to the features.
        planes: maps of the same stages.
        answers: of the rows.
    """

    stages: list[StageNumbers]
    planes: list[Plane]
    answers: Answers


@dataclass(frozen=True)
class Closeup:
    """One row, and what its answer rests on; lists hold one entry before tuning, and one after.

    Attributes:
        row: of the source.
        truth: its class.
        answers: classes chosen.
        likely: their probabilities.
        picture: what the network is given, as a PIL image; None for texts.
        importance: maps ``[h, w]``, or words with numbers: how far the chosen class falls without them.
        maps: mean absolute activation of each stage ``[h, w]``, by name.
    """

    row: int
    truth: str
    answers: list[str]
    likely: list[float]
    picture: Any
    importance: list[Any]
    maps: list[dict[str, Tensor]]


@dataclass(frozen=True)
class Inspection:
    """What the stages of a network make of labelled rows; a notebook shows it as a page.

    Attributes:
        source: name of the dataset.
        encoder: name of the encoder.
        tuned: name of the tuned encoder, or None.
        kind: ``"images"`` or ``"texts"``.
        class_names: of the C classes.
        labels: of the M rows looked at ``[M]``.
        rows: their numbers in the source ``[M]``.
        total: rows of the source.
        axes: of the maps.
        before: the encoder as given.
        after: the tuned one, or None.
        changes: rows whose answer changed.
        closeups: rows shown with what their answer rests on.
        examples: small pictures or texts of changed rows, by row.
        captions: names of the rows shown.
    """

    source: str
    encoder: str
    tuned: str | None
    kind: str
    class_names: list[str]
    labels: Tensor
    rows: Tensor
    total: int
    axes: str
    before: View
    after: View | None
    changes: list[Change]
    closeups: list[Closeup]
    examples: dict[int, Any]
    captions: dict[int, str]

    @property
    def names(self) -> list[str]:
        """Of the stages, from the input to the features."""
        return [stage.name for stage in self.before.stages]

    def accuracy(self, when: str = "before") -> float:
        """Share of the rows that are answered rightly.

        Args:
            when: ``"before"`` or ``"after"``.

        Raises:
            ValueError: another word, or ``"after"`` where one network was inspected.
        """
        if when not in ("before", "after"):
            raise ValueError(f"when={when!r}; it must be one of before, after.")
        view = self.before if when == "before" else self.after
        if view is None:
            raise ValueError("only one network was inspected; give inspect(..., after=tuned) the tuned one.")
        return float((view.answers.classes == self.labels).double().mean())

    def difference(self) -> Difference | None:
        """Of the answers, after minus before."""
        if self.after is None:
            return None
        return paired(self.before.answers.classes == self.labels, self.after.answers.classes == self.labels)

    def stage_differences(self) -> list[Difference]:
        """Of linear separability, stage by stage, after minus before; empty where one network was inspected."""
        if self.after is None:
            return []
        return [paired(old.right, new.right) for old, new in zip(self.before.stages, self.after.stages, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """All numbers, as JSON values."""
        views = {"before": self.before, **({} if self.after is None else {"after": self.after})}
        difference = self.difference()
        return {
            "source": self.source, "encoder": self.encoder, "tuned": self.tuned, "rows": len(self.rows),
            "total": self.total, "classes": self.class_names, "axes": self.axes,
            **{
                when: {
                    "accuracy": self.accuracy(when), "answers_from": view.answers.origin,
                    "stages": [stage.to_dict() for stage in view.stages],
                    "shown": [one.share for one in view.planes],
                }
                for when, view in views.items()
            },
            "difference": None if difference is None else asdict(difference),
            "stage_differences": [asdict(one) for one in self.stage_differences()],
            "changes": [{**asdict(one), "kind": one.kind} for one in self.changes],
        }  # fmt: skip

    def svg(self) -> str:
        """Separability by stage and the maps, as one picture that stands alone."""
        from fewshot.transfer.inspection.drawing import whole_picture

        return whole_picture(self)

    def html(self, title: str | None = None) -> str:
        """One page that needs nothing else; every text in it is escaped."""
        from fewshot.transfer.inspection.page import page

        return page(self, title)

    def _repr_html_(self) -> str:
        from fewshot.transfer.inspection.page import fragment

        return fragment(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page (``.html``), the picture (``.svg``) or the numbers (``.json``).

        Raises:
            ValueError: another suffix.
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind == ".html":
            text = self.html()
        elif kind == ".svg":
            text = self.svg()
        elif kind == ".json":
            text = json.dumps(self.to_dict(), indent=1)
        else:
            raise ValueError(f"cannot write {path.name!r}; use .html, .svg or .json.")
        write_atomically(path, text.encode())
        return path

    def __str__(self) -> str:
        both = self.after is not None
        head = ["stage", "width", "accuracy in %", *(["after", "difference"] if both else []), "within / between",
                *(["after"] if both else [])]  # fmt: skip
        body = []
        for number, old in enumerate(self.before.stages):
            row = [printable(old.name), f"{old.width:,}", old.written]
            new = self.after.stages[number] if self.after is not None else None
            if new is not None:
                gain = self.stage_differences()[number]
                row += [f"{100 * new.accuracy:.1f}", f"{100 * gain.mean:+.1f} ± {100 * gain.interval:.1f}"]
            row += [f"{old.within_between:.2f}", *([] if new is None else [f"{new.within_between:.2f}"])]
            body.append(row)
        widths = [max(len(row[place]) for row in [head, *body]) for place in range(len(head))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(v.rjust(w) for v, w in zip(row[1:], widths[1:], strict=True))]
            ).rstrip()
            for row in [head, *body]
        ]
        note = f"{len(self.rows):,} rows of {len(self.class_names)} classes; accuracy: ridge regression, rows left out"
        lines.insert(1, "-" * max(map(len, lines)))
        return "\n".join([*lines, lines[1], note, *self._summary()])

    def _summary(self) -> list[str]:
        gain = self.difference()
        if gain is None or self.after is None:
            return []
        kinds = [change.kind for change in self.changes]
        return [
            f"answers: {100 * self.accuracy('before'):.1f} % before, {100 * self.accuracy('after'):.1f} % after "
            f"({100 * gain.mean:+.1f} ± {100 * gain.interval:.1f}); {kinds.count('fixed')} put right, "
            f"{kinds.count('broken')} put wrong"
        ]

    def __repr__(self) -> str:
        tuned = "" if self.tuned is None else f", after {self.tuned!r}"
        return f"Inspection({self.encoder!r}{tuned}, {len(self.rows)} rows of {self.source!r})"

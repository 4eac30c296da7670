"""How often a fitted classifier will be right, estimated on its own examples: each is held out and predicted."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from episodes.printable import printable

if TYPE_CHECKING:
    from fewshot.classifier.answering import AnsweringEstimator

_SHOWN = 10  # suspects in a notebook
_WIDE = 12  # classes of which a whole table of confusions can be read
_COLUMNS = 80  # of a terminal


class Suspect(NamedTuple):
    """An example that looks mislabelled: held out, another class is more probable than its own."""

    row: int  # its place among the fitted examples, from 0
    label: Any
    guess: Any
    probability: float  # of the guess
    own: float  # of the label it has


@dataclass(frozen=True)
class Estimate:
    """What held-out examples say.

    Attributes:
        right: how many of them were classified right; where classes differ in how many were held out, the larger ones
            decide this, see `balanced_accuracy`.
        count: how many were asked.
        interval: Wilson's 95 % interval of the accuracy, 0..1. It takes examples for independent, and each was asked
            of a learner that had seen fewer examples than the final one.
        classes: labels ``[N]``.
        confusion: how often class i was taken for class j ``[N, N]``.
        suspects: examples that look mislabelled, the clearest first.
        alone: classes with one example, which could not be asked about.
        assumed: True where fewer than 10 could be held out, too few to set probabilities by: these rest on an
            assumption about how much the rows of a class scatter.
    """

    right: int
    count: int
    interval: tuple[float, float]
    classes: list[Any]
    confusion: np.ndarray
    suspects: list[Suspect]
    alone: list[Any]
    assumed: bool = False

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0..1; NaN where none could be asked."""
        return self.right / self.count if self.count else float("nan")

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes that could be asked about of their share of right answers; NaN where there are none."""
        asked = self.confusion.sum(1)
        known = asked > 0
        return float((np.diag(self.confusion)[known] / asked[known]).mean()) if known.any() else float("nan")

    @property
    def uneven(self) -> bool:
        """Whether some classes had more held-out examples than others, so that the larger ones decide `accuracy`."""
        asked = self.confusion.sum(1)
        return len(np.unique(asked[asked > 0])) > 1

    def __str__(self) -> str:
        return "\n".join([*self._sentences(), *(self._confusions() if self.count else ())])

    def _repr_html_(self) -> str:
        """The sentences, the confusions as a table and the suspects, as notebooks show them."""
        parts = [f"<p>{escape(sentence)}</p>" for sentence in self._sentences()]
        if self.count and len(self.classes) <= _WIDE:
            names = [escape(str(name)) for name in self.classes]
            rows = "".join(
                f"<tr><th>{name}</th>{''.join(f'<td>{n}</td>' for n in line)}</tr>"
                for name, line in zip(names, self.confusion.tolist(), strict=True)
            )
            columns = "".join(f"<th>{name}</th>" for name in names)
            parts.append(f"<table><tr><th>is, taken for</th>{columns}</tr>{rows}</table>")
        elif self.count:
            parts.append(f"<p>{'<br>'.join(map(escape, self._confusions()))}</p>")
        if self.suspects:
            listed = "".join(
                f"<li>example {one.row}: is {escape(str(one.label))}, looks like {escape(str(one.guess))} "
                f"({100 * one.probability:.0f} %)</li>"
                for one in self.suspects[:_SHOWN]
            )
            parts.append(f"<p>look mislabelled, or hard (row from 0):</p><ul>{listed}</ul>")
        return "".join(parts)

    def _sentences(self) -> list[str]:
        if not self.count:
            return ["no estimate: every class has one example only; give at least two of some", *self._doubts()]
        low, high = self.interval
        lines = [
            f"held out: {100 * self.accuracy:.1f} % of {self.count} right (95 % interval {100 * low:.1f} to "
            f"{100 * high:.1f})"
        ]
        if self.uneven:
            asked = self.confusion.sum(1)
            lines.append(
                f"mean over classes: {100 * self.balanced_accuracy:.1f} % (they have {asked[asked > 0].min()} to "
                f"{asked.max()} held-out examples)"
            )
        if self.alone:
            lines.append(f"not asked about, having one example each: {', '.join(map(printable, self.alone[:8]))}")
        return [*lines, *self._doubts()]

    def _doubts(self) -> list[str]:
        if not self.assumed:
            return []
        return [
            "probabilities rest on an assumption about how much rows of a class scatter, as fewer than 10 examples can "
            "be held out; give more, or calibrate(X, y) with labelled rows that were not fitted, or "
            "calibrate(unlabelled=rows)"
        ]

    def _confusions(self) -> list[str]:
        if len(self.classes) <= _WIDE:
            return self._table()
        off = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-off, axis=None, kind="stable")[:10]
        pairs = [(int(place // len(off)), int(place % len(off))) for place in order if off.flat[place]]
        names = [printable(name) for name in self.classes]
        return [f"{names[i]} taken for {names[j]}: {off[i, j]} of {self.confusion[i].sum()}" for i, j in pairs]

    def _table(self) -> list[str]:
        """All confusions, in lines that fit a terminal: columns are numbered where names would not."""
        names = [printable(name) for name in self.classes]
        widest, count = max(map(len, names)), len(str(self.confusion.max()))
        heads = names
        cells = [max(2, count, len(name)) for name in names]
        if widest + 1 + sum(cell + 1 for cell in cells) > _COLUMNS:
            heads = [f"[{number}]" for number in range(1, len(names) + 1)]
            cells = [max(count, len(head)) for head in heads]
            room = _COLUMNS - 1 - sum(cell + 1 for cell in cells) - len(heads[-1]) - 1
            names = [
                f"{head.ljust(len(heads[-1]))} {name if len(name) <= room else f'{name[: room - 1]}…'}"
                for head, name in zip(heads, names, strict=True)
            ]
            widest = max(map(len, names))
        head = " ".join(name.rjust(cell) for name, cell in zip(heads, cells, strict=True))
        rows = [
            f"{name.ljust(widest)}  " + " ".join(str(n).rjust(cell) for n, cell in zip(line, cells, strict=True))
            for name, line in zip(names, self.confusion.tolist(), strict=True)
        ]
        return ["each line is a class, each column what it was taken for:", f"{' ' * widest}  {head}", *rows]


def estimate(classifier: AnsweringEstimator) -> Estimate:
    """Hold out the fitted examples, a tenth at most at a time and of every class alike, and ask about them.

    The temperature of the classifier is used for probabilities, and rejection is not.

    Raises:
        ValueError: the classifier has no examples, or several labels for a row.
    """
    from scipy.stats import binomtest

    from fewshot.classifier.calibration import FEW_HELD_OUT

    adapted = classifier._adapted
    if not adapted.episode.labels.numel() or getattr(classifier, "multi_label", False):
        raise ValueError("an estimate needs fitted examples with one label each; score labelled rows instead.")
    found = classifier._answers_held_out()
    labels = found.labels.numpy()
    chances = (found.logits / classifier.temperature_).softmax(1).numpy()  # [R, N]
    guesses = chances.argmax(1)
    classes = classifier.classes_.tolist()
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (labels, guesses), 1)
    right, count = int(np.trace(confusion)), len(labels)
    interval = binomtest(right, count).proportion_ci(method="wilson") if count else (0.0, 1.0)
    shots = np.bincount(adapted.episode.labels[0].cpu().numpy(), minlength=len(classes))
    each = np.arange(count)
    lead = chances[each, guesses] - chances[each, labels]
    rows = found.rows.numpy()
    suspects = [
        Suspect(
            int(rows[place]), classes[labels[place]], classes[guesses[place]],
            float(chances[place, guesses[place]]), float(chances[place, labels[place]]),
        )
        for place in np.argsort(-lead, kind="stable") if guesses[place] != labels[place]
    ]  # fmt: skip
    alone = [name for name, number in zip(classes, shots, strict=True) if number == 1]
    low, high = interval
    guessed = adapted.asked is None and getattr(classifier, "_unlabelled", None) is None
    few = count < FEW_HELD_OUT and guessed and bool(getattr(classifier, "calibrated", True))
    return Estimate(right, count, (float(low), float(high)), classes, confusion, suspects, alone, few)

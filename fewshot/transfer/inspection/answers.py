"""Answers before and after tuning, and which of them changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from episodes.intervals import difference_interval
from episodes.sign_flip import sign_flip_test


@dataclass(frozen=True)
class Answers:
    """What a classifier says of each row.

    Attributes:
        classes: the class chosen ``[M]``.
        confidence: its probability ``[M]``; None where scores are no probabilities.
        origin: where the answers come from, in words.
    """

    classes: Tensor
    confidence: Tensor | None
    origin: str

    @staticmethod
    def of_logits(logits: Tensor, origin: str) -> Answers:
        """The most likely classes."""
        likely = logits.double().softmax(1).max(1)
        return Answers(likely.indices, likely.values, origin)


@dataclass(frozen=True)
class Difference:
    """A paired difference of accuracies, after minus before.

    Attributes:
        mean: of the rows.
        interval: half the width of its 95 % interval over rows.
        p_value: of the exact sign-flip test, which is McNemar's for right and wrong.
    """

    mean: float
    interval: float
    p_value: float


def paired(before: Any, after: Any) -> Difference:
    """After minus before, of rows that are right or not ``[M]``.

    Reference: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 1947.
    """
    difference = torch.as_tensor(after).double().numpy() - torch.as_tensor(before).double().numpy()
    return Difference(float(difference.mean()), difference_interval(difference), sign_flip_test(difference, grid=1))


@dataclass(frozen=True)
class Change:
    """A row whose answer is not as before.

    Attributes:
        row: of the source.
        truth: its class.
        before: class chosen before.
        after: class chosen after.
        likely_before: probability of the former, or None.
        likely_after: probability of the latter, or None.
    """

    row: int
    truth: str
    before: str
    after: str
    likely_before: float | None
    likely_after: float | None

    @property
    def kind(self) -> str:
        """``"fixed"`` (wrong -> right), ``"broken"`` (right -> wrong) or ``"other"`` (wrong both times)."""
        if self.after == self.truth:
            return "fixed"
        return "broken" if self.before == self.truth else "other"


def changes(before: Answers, after: Answers, labels: Tensor, rows: Tensor, class_names: list[str]) -> list[Change]:
    """All rows whose answer changed, those first that the network is surest of after tuning.

    Args:
        before: of the M rows shown.
        after: of the same.
        labels: ``[M]``.
        rows: their numbers in the source ``[M]``.
        class_names: of the C classes.
    """
    found = [
        Change(
            int(rows[place]), class_names[int(labels[place])],
            class_names[int(before.classes[place])], class_names[int(after.classes[place])],
            None if before.confidence is None else float(before.confidence[place]),
            None if after.confidence is None else float(after.confidence[place]),
        )
        for place in (before.classes != after.classes).nonzero().squeeze(1).tolist()
    ]  # fmt: skip
    return sorted(found, key=lambda change: -(change.likely_after or 0.0))

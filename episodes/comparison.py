"""`compare`: is one learner better than another on the same episodes, and could chance explain it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from episodes.results import Result, Results
from episodes.samplers.task_label import task_label
from episodes.statistics import detectable_difference, holm, mean_interval, sign_flip_test


@dataclass(frozen=True)
class Comparison:
    """Two learners on the same episodes.

    Attributes:
        a: name of one learner.
        b: name of the other.
        difference: mean of ``a - b`` in -1..1.
        ci95: half the width of its 95 % t interval.
        p_value: exact two-sided sign-flip test of a mean difference of 0.
        detectable: the true difference that so many episodes would show with probability 0.8.
        wins: episodes in which a scored higher.
        ties: episodes in which both scored the same.
        losses: episodes in which b scored higher.
        exam: what they sat, like ``"digits 5-way 1-shot"``.
        interval: ``"episodes"`` or ``"disjoint"``, as in `Result`.
        lengths: episodes that a and b sat; only the first ones that both sat are compared.
        p_adjusted: p_value after Holm's correction for all comparisons made together; None for one alone.
    """

    a: str
    b: str
    difference: float
    ci95: float
    p_value: float
    detectable: float
    wins: int
    ties: int
    losses: int
    exam: str
    interval: str
    lengths: tuple[int, int]
    p_adjusted: float | None = None

    @property
    def episodes(self) -> int:
        """Number of paired episodes."""
        return min(self.lengths)

    @property
    def p(self) -> float:
        """The p-value to report: the adjusted one where there is one."""
        return self.p_value if self.p_adjusted is None else self.p_adjusted

    def __str__(self) -> str:
        """Percent: ``proto - ridge = -1.23 ± 0.20 (95 %, 2,000 paired episodes), p < 0.001``."""
        kind = "" if self.interval == "episodes" else f"{self.interval} "
        episodes = f"{self.episodes:,} paired {kind}episodes"
        if self.lengths[0] != self.lengths[1]:
            longer = self.a if self.lengths[0] > self.lengths[1] else self.b
            episodes = f"the first {episodes} of {longer}'s {max(self.lengths):,}"
        holm_note = "" if self.p_adjusted is None else " (Holm)"
        return (
            f"{self.a} - {self.b} = {100 * self.difference:+.2f} ± {100 * self.ci95:.2f} "
            f"(95 %, {episodes}), {format_p(self.p)}{holm_note}"
        )


def compare(a: Result, b: Result) -> Comparison:
    """Compare two learners episode by episode.

    Both sat the same episodes, so the difficulty of an episode cancels. Episode e is the same in a short and
    in a long run; of runs of unequal length the first episodes that both have are used.

    Args:
        a: scores of one learner.
        b: scores of another (or of another state of the same one) on the same exam.

    Raises:
        ValueError: they sat different exams; the message names what differs.

    >>> exam = {"dataset": {"name": "toy"}, "way": 5, "shot": 1}
    >>> a, b = (Result(name, {"exam": exam}, np.array(scores), query_count=5)
    ...         for name, scores in {"a": [0.6, 0.8, 1.0, 0.8], "b": [0.6, 0.6, 0.8, 0.4]}.items())
    >>> print(compare(a, b))
    a - b = +20.00 ± 25.98 (95 %, 4 paired episodes), p = 0.250
    """
    if a.exam_key != b.exam_key:
        raise ValueError(
            f"{a.learner!r} and {b.learner!r} sat different exams: {'; '.join(_unequal(a.exam, b.exam))}. "
            "Only scores on the same episodes can be paired; evaluate both with the same source and sampler."
        )
    episodes = min(a.episodes, b.episodes)
    differences = a.scores[:episodes] - b.scores[:episodes]
    grid = a.query_count if a.query_count == b.query_count and a.query_count else None
    if grid:
        differences = np.rint(differences * grid) / grid  # so that equal scores are ties, not 1e-17 apart
    return Comparison(
        a=a.learner,
        b=b.learner,
        difference=float(differences.mean()),
        ci95=mean_interval(differences),
        p_value=sign_flip_test(differences, grid),
        detectable=detectable_difference(differences),
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
        exam=describe_exam(a),
        interval=a.interval,
        lengths=(a.episodes, b.episodes),
    )


def compare_all(results: Results | Sequence[Result], reference: str | None = None) -> list[Comparison]:
    """Compare all pairs of learners within each exam, p-values adjusted by Holm's method within it.

    Args:
        results: cells of any number of exams.
        reference: compare each other learner with this one only, which leaves more power to each test.

    Raises:
        ValueError: no learner is called `reference`.
    """
    cells = results.cells if isinstance(results, Results) else list(results)
    names = list(dict.fromkeys(cell.learner for cell in cells))
    if reference is not None and reference not in names:
        raise ValueError(f"reference={reference!r}, but the results are of {', '.join(map(repr, names))}.")
    made = []
    for exam in Results(cells).exams():
        pairs = [
            (a, b) if reference is None or b.learner == reference else (b, a)
            for a, b in combinations(exam.cells, 2)
            if reference is None or (a.learner == reference) != (b.learner == reference)
        ]
        found = [compare(a, b) for a, b in pairs]
        adjusted = holm([comparison.p_value for comparison in found]).tolist()
        made += [replace(one, p_adjusted=p) for one, p in zip(found, adjusted, strict=True)]
    return made


def describe_exam(cell: Result) -> str:
    """An exam in words: ``digits 5-way 1-shot``."""
    return f"{cell.dataset} {describe_task(cell)}"


def describe_task(cell: Result) -> str:
    """The task in words: ``5-way 1-shot``; what varies from episode to episode is said to."""
    return task_label(cell.exam)


def format_p(p: float) -> str:
    """A p-value in words: ``p = 0.012``, ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested fields by dotted name: ``{"dataset": {"name": x}}`` -> ``("dataset.name", x)``."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _unequal(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    first, second = dict(flatten(a)), dict(flatten(b))
    return [
        f"{name} is {first.get(name)!r} and {second.get(name)!r}"
        for name in dict.fromkeys([*first, *second])
        if first.get(name) != second.get(name)
    ]

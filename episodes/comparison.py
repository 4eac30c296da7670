"""`compare`: is one learner better than another on the same episodes, and could chance explain it?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from html import escape
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.intervals import difference_interval, mean_interval
from episodes.metrics import METRICS, Metric
from episodes.naming import flatten, learner_names
from episodes.printable import printable
from episodes.renamed import former_attribute
from episodes.result import HasCells, Result, cells_of, describe_evaluation, group_by_evaluation
from episodes.statistics import detectable_difference, holm, sign_flip_test


@dataclass(frozen=True)
class Comparison:
    """Two learners on the same episodes.

    Attributes:
        a: name of one learner.
        b: name of the other.
        difference: mean of ``a - b``, in the units of the scores.
        ci95: half the width of its 95 % interval; NaN for one episode.
        p_value: exact two-sided sign-flip test of a mean difference of 0.
        detectable: the true difference that so many episodes would show with probability 0.8.
        wins: episodes in which a did better.
        ties: episodes in which both scored the same.
        losses: episodes in which b did better.
        evaluation: what both were evaluated on, like ``"digits 5-way 1-shot"``.
        interval: ``"episodes"`` or ``"disjoint"``, as in `Result`.
        lengths: episodes of a and of b; only the first ones that both have are compared.
        p_adjusted: p_value after Holm's correction for all comparisons made together; None for one alone.
        metric: what the scores are.
        settings: of a and of b, where these differ: one of them saw more than the other.
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
    evaluation: str
    interval: str
    lengths: tuple[int, int]
    p_adjusted: float | None = None
    metric: Metric = METRICS["accuracy"]
    settings: tuple[str, str] | None = None

    exam = former_attribute("exam", "evaluation")

    @property
    def episodes(self) -> int:
        """Number of paired episodes."""
        return min(self.lengths)

    @property
    def p(self) -> float:
        """The p-value to report: the adjusted one where there is one."""
        return self.p_value if self.p_adjusted is None else self.p_adjusted

    @property
    def informative(self) -> bool:
        """Whether there are enough episodes for a meaningful interval."""
        return self.metric.informs(self.ci95 / 2)  # a difference has twice the range of a score

    def written(self) -> str:
        """Difference and half-width of the interval: ``-1.23 ± 0.20``, or ``-1.23 ± ?`` where there is none."""
        half = self.metric.written_interval(self.ci95) if self.informative else "?"
        return f"{self.metric.written(self.difference, sign=True)} ± {half}"

    def __str__(self) -> str:
        """``proto - ridge = -1.23 ± 0.20 (95 %, 2,000 paired episodes), p < 0.001``; accuracies in percent."""
        kind = "" if self.interval == "episodes" else f"{self.interval} "
        episodes = f"{self.episodes:,} paired {kind}episode{'s' if self.episodes > 1 else ''}"
        if self.lengths[0] != self.lengths[1]:
            longer = self.a if self.lengths[0] > self.lengths[1] else self.b
            episodes = f"the first {episodes} of {printable(longer)}'s {max(self.lengths):,}"
        names = f"{printable(self.a)} - {printable(self.b)}"
        if not self.metric.higher_is_better:
            names += f" ({self.metric.name}, lower is better)"
        if self.settings is not None:
            names += f" ({self.settings[0]} against {self.settings[1]})"
        if not self.informative:
            alike = self.ci95 == 0
            why = "all the same, so there is no interval" if alike else "too few for an interval"
            return f"{names} = {self.metric.written(self.difference, sign=True)} ({episodes}: {why})"
        holm_note = "" if self.p_adjusted is None else " (Holm)"
        return f"{names} = {self.written()} (95 %, {episodes}), {format_p(self.p)}{holm_note}"

    def _repr_html_(self) -> str:
        """The sentence, as notebooks show it."""
        return f"<p>{escape(str(self))}</p>"

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; what is not a number is None."""
        data = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "metric"}
        data = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in data.items()}
        data["settings"] = None if self.settings is None else list(self.settings)
        metric = {"metric": self.metric.name, "unit": self.metric.unit}
        return {**data, "lengths": list(self.lengths), **metric, "higher_is_better": self.metric.higher_is_better}


def compare(a: Result, b: Result) -> Comparison:
    """Compare two learners episode by episode.

    Both were evaluated on the same episodes, so the difficulty of an episode cancels. Episode e is the same in a
    short and in a long run; of runs of unequal length the first episodes that both have are used.

    Args:
        a: scores of one learner.
        b: scores of another (or of another state of the same one), evaluated on the same.

    Raises:
        ValueError: they were evaluated on different episodes; the message names what differs.
        TypeError: something else than two results.

    >>> evaluation = {"dataset": {"name": "toy"}, "way": 5, "shot": 1}
    >>> a, b = (Result(name, {"evaluation": evaluation}, np.array(scores), query_count=5)
    ...         for name, scores in {"a": [0.6, 0.8, 1.0, 0.8], "b": [0.6, 0.6, 0.8, 0.4]}.items())
    >>> print(compare(a, b))
    a - b = +20.00 ± 32.99 (95 %, 4 paired episodes), p = 0.250
    """
    for given in (a, b):
        if not isinstance(given, Result):
            raise TypeError(
                f"compare(a, b) takes two results, such as results['ridge'] and results['nearest'], and was given a "
                f"{type(given).__name__}; compare_all(results) compares all of them."
            )
    if a.evaluation_key != b.evaluation_key:
        raise ValueError(
            f"{a.learner!r} and {b.learner!r} have different tasks: "
            f"{'; '.join(unequal(a.evaluation, b.evaluation))}. "
            "Only scores on the same episodes can be paired; evaluate both with the same source and sampler."
        )
    episodes = min(a.episodes, b.episodes)
    differences = a.scores[:episodes] - b.scores[:episodes]
    grid = a.query_count if a.query_count == b.query_count and a.query_count else None
    if grid:
        differences = np.rint(differences * grid) / grid  # so that equal scores are ties, not 1e-17 apart
    half = _interval(differences, a, b)
    better = differences if a.metric.higher_is_better else -differences
    return Comparison(
        a=a.learner,
        b=b.learner,
        difference=float(differences.mean()),
        ci95=half,
        p_value=sign_flip_test(differences, grid),
        detectable=detectable_difference(differences, interval=half),
        wins=int((better > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((better < 0).sum()),
        evaluation=describe_evaluation(a),
        interval=a.interval,
        lengths=(a.episodes, b.episodes),
        metric=a.metric,
        settings=None if None in (a.setting, b.setting) or a.setting == b.setting else (str(a.setting), str(b.setting)),
    )


def _interval(differences: NDArray[np.float64], a: Result, b: Result) -> float:
    """Half the width of the interval of the mean difference, which is never 0 where scores have bounds."""
    if not np.isfinite(a.metric.width):
        return mean_interval(differences)
    return difference_interval(differences, width=a.metric.width, queries=min(a.queries, b.queries))


def compare_all(results: HasCells | Iterable[Result], reference: str | None = None) -> list[Comparison]:
    """Compare all pairs of learners on each task, p-values adjusted by Holm's method within it.

    Args:
        results: cells of any number of tasks.
        reference: compare each other learner with this one only, which leaves more power to each test.

    Raises:
        ValueError: no learner is called `reference`.
    """
    cells = cells_of(results)
    names = list(dict.fromkeys(cell.learner for cell in cells))
    if reference is not None and reference not in names:
        raise ValueError(f"reference={reference!r}, but the results are of {', '.join(map(repr, names))}.")
    made = []
    for paired in group_by_evaluation(cells):
        labels = {id(cell): label for cell, label in zip(paired, learner_names(paired), strict=True)}
        pairs = [
            (a, b) if reference is None or b.learner == reference else (b, a)
            for a, b in combinations(paired, 2)
            if reference is None or (a.learner == reference) != (b.learner == reference)
        ]
        found = [replace(compare(a, b), a=labels[id(a)], b=labels[id(b)]) for a, b in pairs]
        adjusted = holm([comparison.p_value for comparison in found]).tolist()
        made += [replace(one, p_adjusted=p) for one, p in zip(found, adjusted, strict=True)]
    return made


def format_p(p: float) -> str:
    """A p-value in words: ``p = 0.012``, ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def unequal(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Fields that differ, in words: ``shot is 1 and 5``."""
    first, second = dict(flatten(a)), dict(flatten(b))
    return [
        f"{name} is {first.get(name)!r} and {second.get(name)!r}"
        for name in dict.fromkeys([*first, *second])
        if first.get(name) != second.get(name)
    ]

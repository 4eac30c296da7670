"""`Metric`: what is measured in each episode, whether more of it is better, and how it is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from episodes import outliers, scores
from episodes.answers import Answers
from episodes.identity import UnknownIdentityError, digest
from episodes.schema import field

ScoreFunction = Callable[[Answers], Tensor]


@dataclass(frozen=True)
class Metric:
    """One number per episode, and how to read it.

    Attributes:
        name: what tables and results call it.
        function: `Answers` of a batch of episodes to scores ``[E]``, on the device of the logits; None for a metric
            that was read from a results file, which can be read but not computed.
        higher_is_better: False for errors and losses.
        unit: ``"%"``: scores are fractions, written as 100 times their value; or any other unit, or none (``""``).
        digits: decimals when written.
        bounds: the lowest and the highest possible score; infinite where there is none.
        open_set: it needs queries that are of none of the episode's classes, and ``Answers.outliers``.
        counts: a score is a number of scored queries over all of them; results then store counts.

    >>> from episodes import Metric
    >>> margin = Metric("margin", lambda a: a.confidence.double().mean(1), unit="%")
    >>> margin.written(0.5), margin.heading
    ('50.00', 'margin in %')
    """

    name: str
    function: ScoreFunction | None
    higher_is_better: bool = True
    unit: str = "%"
    digits: int = 2
    bounds: tuple[float, float] = (0.0, 1.0)
    open_set: bool = False
    counts: bool = False

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise ValueError(f"name={self.name!r}; a metric needs a name.")
        if self.function is not None and not callable(self.function):
            raise ValueError(f"metric {self.name!r}: function={self.function!r}; it must be callable, Answers -> [E].")
        if not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"metric {self.name!r}: bounds={self.bounds!r}; they must be (lowest, highest).")
        if not 0 <= self.digits <= 12:
            raise ValueError(f"metric {self.name!r}: digits={self.digits!r}; they must be 0 to 12.")

    @property
    def heading(self) -> str:
        """Name and unit, and the direction where less is better: ``fpr95 in % (lower is better)``."""
        unit = f" in {self.unit}" if self.unit else ""
        return f"{self.name}{unit}{'' if self.higher_is_better else ' (lower is better)'}"

    @property
    def width(self) -> float:
        """The largest possible difference of two scores."""
        return self.bounds[1] - self.bounds[0]

    def scaled(self, score: float) -> float:
        """A score in the unit it is written in."""
        return 100 * score if self.unit == "%" else score

    def written(self, score: float, *, sign: bool = False) -> str:
        """A score as text, without its unit."""
        return f"{self.scaled(score):{'+' if sign else ''}.{self.digits}f}"

    def written_interval(self, half: float) -> str:
        """Half the width of an interval as text; what would round to 0 is rounded up, so that it still covers."""
        return self.written(max(half, 10.0**-self.digits / self.scaled(1)) if half > 0 else half)

    def informs(self, half: float) -> bool:
        """Whether an interval of this half-width is meaningful: it exists, and is narrower than all possible scores."""
        return 0 < half < self.width / 2

    def better(self, score: float, other: float) -> bool:
        """Whether a score is better than another."""
        return score > other if self.higher_is_better else score < other

    def recipe(self) -> Any:
        """JSON values that name it: its name alone if it is one of this library.

        Raises:
            ValueError: the name of a metric of this library for another one, or a function whose behaviour cannot be
                read.
        """
        own = METRICS.get(self.name)
        if own == self:
            return self.name
        if own is not None:
            raise ValueError(f"a metric of your own is called {self.name!r}, as one of this library; rename it.")
        try:
            identity = digest(self.function)
        except UnknownIdentityError as error:
            raise ValueError(f"metric {self.name!r} has no identity to store its scores under: {error}") from None
        low, high = (bound if math.isfinite(bound) else None for bound in self.bounds)
        return {
            "name": self.name, "identity": identity, "higher_is_better": self.higher_is_better, "unit": self.unit,
            "digits": self.digits, "bounds": [low, high], "open_set": self.open_set,
        }  # fmt: skip

    @classmethod
    def from_recipe(cls, recipe: Any, where: str = "the recipe") -> Metric:
        """The metric that `recipe` named; None is accuracy.

        Raises:
            ValueError: it is not known, or a field is missing or of the wrong type.
        """
        if recipe is None:
            return METRICS["accuracy"]
        if isinstance(recipe, str):
            return load_metric(recipe)
        bounds = field(recipe, "bounds", list, where, each=(float, type(None)), least=2, most=2)
        low, high = (unbounded if bound is None else float(bound) for bound, unbounded in
                     zip(bounds, (-math.inf, math.inf), strict=True))  # fmt: skip
        return cls(
            field(recipe, "name", str, where, least=1), None,
            higher_is_better=field(recipe, "higher_is_better", bool, where), unit=field(recipe, "unit", str, where),
            digits=field(recipe, "digits", int, where, least=0, most=12), bounds=(low, high),
            open_set=field(recipe, "open_set", bool, where),
        )  # fmt: skip


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", scores.accuracy, counts=True),
        Metric("auroc", outliers.auroc, open_set=True),
        Metric("fpr95", outliers.fpr95, higher_is_better=False, open_set=True),
        Metric("balanced-accuracy", scores.balanced_accuracy),
        Metric("macro-f1", scores.macro_f1),
        Metric("ece", scores.calibration_error, higher_is_better=False),
        Metric("log-loss", scores.log_loss, higher_is_better=False, unit="nats", digits=3, bounds=(0.0, math.inf)),
    )
}


def load_metric(metric: str | Metric) -> Metric:
    """A metric by name, or as it is.

    Raises:
        ValueError: no metric, or a name that is not known.
    """
    if isinstance(metric, Metric):
        return metric
    if not isinstance(metric, str) or metric not in METRICS:
        names = ", ".join(METRICS)
        raise ValueError(f"metric={metric!r}; it must be one of {names}, or a Metric(name, function) of your own.")
    return METRICS[metric]

"""`Result`: the scores of one learner on one task, with everything they depend on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from episodes.intervals import mean_interval, score_interval
from episodes.metrics import Metric
from episodes.predictions import Confusion, Predictions, ScoresOfClass, load_predictions
from episodes.renamed import former_attribute, former_names
from episodes.result_fields import SCHEMA, checked_fields, current_recipe, line_checksum
from episodes.result_fields import recipe_hash as recipe_hash
from episodes.samplers.task_label import task_label

__getattr__ = former_names(__name__, group_by_exam="group_by_evaluation", describe_exam="describe_evaluation")


@dataclass(frozen=True)
class Result:
    """One cell: the scores of one learner on one task.

    Attributes:
        learner: the name given by the user.
        recipe: all that the scores depend on, ``{"learner": {...}, "evaluation": {...}}``, where ``evaluation`` is
            dataset, sampler and metric; the number of episodes is not in it, because episode e is the same in a short
            and a long run.
        scores: score of each episode ``[episodes]``, by `metric`; accuracies are fractions.
        query_count: scored queries per episode, where scores are accuracies and it does not vary; else 0.
        seconds: time spent in the learner.
        environment: versions and device: what the scores should not depend on.
        interval: ``"episodes"``: the interval describes the drawing of episodes from this dataset (the
            field's habit); ``"disjoint"``: no two episodes share a row, so it covers the data too.
        provenance: where the rows came from, such as counts of embedding cache hits, and how many ``parameters`` the
            learner has.
        kept: the predictions, or the file they are in, where they were kept; `predictions` reads them.
    """

    learner: str
    recipe: dict[str, Any]
    scores: NDArray[np.float64]
    query_count: int = 0
    seconds: float = 0.0
    environment: dict[str, Any] = field(default_factory=dict)
    interval: str = "episodes"
    provenance: dict[str, Any] = field(default_factory=dict)
    kept: Predictions | Path | None = field(default=None, repr=False, compare=False)

    exam = former_attribute("exam", "evaluation")
    exam_key = former_attribute("exam_key", "evaluation_key")

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe", current_recipe(self.recipe))

    @cached_property
    def key(self) -> str:
        """Digest of the recipe: equal keys mean equal scores."""
        return recipe_hash(self.recipe)

    @cached_property
    def evaluation_key(self) -> str:
        """Digest of all but the learner: results with equal ones are paired."""
        return recipe_hash(self.recipe["evaluation"])

    @cached_property
    def metric(self) -> Metric:
        """What the scores are."""
        return Metric.from_recipe(self.evaluation.get("metric"))

    @property
    def mean(self) -> float:
        """Mean score; an accuracy in 0..1."""
        return float(self.scores.mean())

    @cached_property
    def ci95(self) -> float:
        """Half the width of the 95 % interval of the mean, in the units of the scores; NaN for one episode.

        See `episodes.intervals.score_interval`; of scores without bounds it is the t interval.
        """
        if not np.isfinite(self.metric.width):
            return mean_interval(self.scores)
        return score_interval(self.scores, bounds=self.metric.bounds, queries=self.queries)

    @property
    def informative(self) -> bool:
        """Whether there are enough episodes for a meaningful interval."""
        return self.metric.informs(self.ci95)

    @property
    def queries(self) -> int:
        """Scored queries per episode, as far as they are known; else 1."""
        way, query = self.way, self.evaluation.get("query")
        return self.query_count or (way * query if isinstance(way, int) and isinstance(query, int) else 0) or 1

    @property
    def episodes(self) -> int:
        """Number of episodes scored."""
        return len(self.scores)

    @property
    def evaluation(self) -> dict[str, Any]:
        """The part of the recipe that learners share: dataset, sampler, way, shot, query, seed, metric."""
        return self.recipe["evaluation"]

    @property
    def way(self) -> int | None:
        """Classes per episode, None if it varies."""
        return self.evaluation.get("way")

    @property
    def shot(self) -> int | None:
        """Support rows per class, None if it varies."""
        return self.evaluation.get("shot")

    @property
    def setting(self) -> str | None:
        """What the learner was allowed to see, one of `episodes.SETTINGS`; None where it did not say."""
        known = self.provenance.get("setting")
        return known if isinstance(known, str) else None

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return str(self.evaluation["dataset"]["name"])

    def _repr_html_(self) -> str:
        """Learner, task and score, as notebooks show them."""
        return f"<p><b>{escape(self.learner)}</b> on {escape(self.dataset)}, {escape(describe_task(self))}: {self}</p>"

    @cached_property
    def predictions(self) -> Predictions:
        """The prediction for each query.

        Raises:
            ValueError: they were not kept, or do not belong to these scores.
        """
        if self.kept is None:
            raise ValueError(
                f"the predictions of {self.learner!r} were not kept; evaluate with keep_predictions=True "
                "(fewshot evaluate --keep-predictions)."
            )
        kept = load_predictions(self.kept, self.key) if isinstance(self.kept, Path) else self.kept
        return kept.of_scores(self.scores, accuracies=self.metric.counts)

    def confusion(self) -> Confusion:
        """Queries by their class and their predicted class, over all episodes."""
        return self.predictions.confusion()

    def per_class(self) -> list[ScoresOfClass]:
        """Accuracy, precision and F1 of each class, over all episodes."""
        return self.predictions.per_class()

    def with_kept(self, kept: Predictions | Path | None) -> Result:
        """The same result, its predictions kept there."""
        return replace(self, kept=kept)

    def written(self) -> str:
        """Mean and half-width of the interval: ``71.32 ± 0.41``, or ``57.50 ± ?`` without a meaningful interval."""
        half = self.metric.written_interval(self.ci95) if self.informative else "?"
        return f"{self.metric.written(self.mean)} ± {half}"

    def __str__(self) -> str:
        """With the interval: ``71.32 ± 0.41 (95 %, 2,000 episodes)``; accuracies in percent."""
        what = "episodes" if self.interval == "episodes" else f"{self.interval} episodes"
        what = what if self.episodes != 1 else what[:-1]
        unit = f" {self.metric.unit}" if self.metric.unit not in ("", "%") else ""
        if not self.informative:
            alike = self.ci95 == 0
            why = "all alike, so there is no interval" if alike else "too few for an interval"
            return f"{self.metric.written(self.mean)}{unit} ({self.episodes:,} {what}: {why})"
        return f"{self.written()}{unit} (95 %, {self.episodes:,} {what})"

    def to_json(self) -> dict[str, Any]:
        """This cell as one JSON object; accuracies are stored as counts, which are exact."""
        if self.query_count:
            scores = {"correct": np.rint(self.scores * self.query_count).astype(int).tolist()}
        else:
            scores = {"scores": self.scores.tolist()}
        data = {
            "schema": SCHEMA, "key": self.key, "learner": self.learner, "recipe": self.recipe,
            "episodes": self.episodes, "mean": self.mean, "ci95": None if np.isnan(self.ci95) else self.ci95,
            "interval": self.interval, "seconds": round(self.seconds, 4), "environment": self.environment,
            "provenance": self.provenance, "query_count": self.query_count, **scores,
        }  # fmt: skip
        return {**data, "checksum": line_checksum(data)}

    @classmethod
    def from_json(cls, data: Any, where: str = "this result") -> Result:
        """The cell that `to_json` wrote, each field checked.

        Args:
            data: JSON values.
            where: what messages call them, such as file and line.

        Raises:
            ValueError: another format; a field that is missing, of the wrong type or out of range; or scores that do
                not belong to the recipe beside them.
        """
        return cls(**checked_fields(data, where))


class HasCells(Protocol):
    """What holds results: `episodes.Results`."""

    cells: list[Result]


def cells_of(results: HasCells | Iterable[Result]) -> list[Result]:
    """The cells of `Results`, or of a list of them."""
    held: Any = getattr(results, "cells", results)
    return list(held)


def group_by_evaluation(results: HasCells | Iterable[Result]) -> list[list[Result]]:
    """Cells that are paired, group by group, in order of first appearance."""
    groups: dict[str, list[Result]] = {}
    for cell in cells_of(results):
        groups.setdefault(cell.evaluation_key, []).append(cell)
    return list(groups.values())


def longest(cells: Iterable[Result]) -> list[Result]:
    """Of cells with equal recipe and name, the one with most episodes."""
    best: dict[tuple[str, str], Result] = {}
    for cell in cells:
        place = (cell.key, cell.learner)
        if place not in best or cell.episodes > best[place].episodes:
            best[place] = cell
    return list(best.values())


def describe_evaluation(cell: Result) -> str:
    """Dataset, task and metric in words: ``digits 5-way 1-shot``, ``digits 5-way 1-shot, auroc``."""
    metric = "" if cell.metric.name == "accuracy" else f", {cell.metric.name}"
    return f"{cell.dataset} {describe_task(cell)}{metric}"


def describe_task(cell: Result) -> str:
    """The task in words: ``5-way 1-shot``; "variable" for what differs between episodes."""
    return task_label(cell.evaluation)

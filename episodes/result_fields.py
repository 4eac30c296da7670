"""The fields of a stored result, each checked: files are edited, mixed up and damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes import schema
from episodes.metrics import Metric

SCHEMA = "fewshot-results/1"
INTERVALS = ("episodes", "disjoint")
_FORMER = "exam"  # what version 0.1 called the field "evaluation" of a recipe
_DEEPEST = 64  # levels of a recipe


def recipe_hash(recipe: Any) -> str:
    """A digest of JSON values that does not depend on the order of keys.

    A recipe is hashed under the field names of version 0.1, so that results of then and now have equal keys.
    """
    if isinstance(recipe, dict) and "evaluation" in recipe:
        recipe = {_FORMER if name == "evaluation" else name: value for name, value in recipe.items()}
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def current_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe under the names of now: version 0.1 wrote ``exam`` for ``evaluation``."""
    if _FORMER not in recipe or "evaluation" in recipe:
        return recipe
    return {"evaluation" if name == _FORMER else name: value for name, value in recipe.items()}


def checked_fields(data: Any, where: str) -> dict[str, Any]:
    """The arguments of a `Result` from its JSON object.

    Raises:
        ValueError: see `Result.from_json`.
    """
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        given = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"{where}: not a result of this library: schema is {_short(given)}, expected {SCHEMA!r}.")
    learner = schema.field(data, "learner", str, where)
    recipe = schema.field(data, "recipe", dict, where)
    environment, provenance = (schema.field(data, name, dict, where) for name in ("environment", "provenance"))
    for name, value in (("recipe", recipe), ("environment", environment), ("provenance", provenance)):
        if schema.is_deeper(value, _DEEPEST):
            raise ValueError(f"{where}: the field {name!r} is nested too deeply.")
    _check_recipe(recipe, where)
    if schema.field(data, "key", str, where) != (key := _hash(recipe, where)):
        raise ValueError(
            f"{where}: the result {learner!r} carries the key {_short(data['key'])} of another recipe ({key}); it "
            "was edited or mixed up. Remove that line and run it again."
        )
    checksum = schema.field(data, "checksum", str, where, default=None)
    if checksum is not None and checksum != line_checksum(data, where):
        raise ValueError(
            f"{where}: the result {learner!r} is not as it was written: its checksum is of other content. Remove "
            "that line and run it again; if it was edited on purpose, remove its field 'checksum'."
        )
    interval = schema.field(data, "interval", str, where)
    if interval not in INTERVALS:
        raise ValueError(f"{where}: the field 'interval' is {_short(interval)}; it must be one of {INTERVALS}.")
    recipe = current_recipe(recipe)
    scores, count = _scores(data, where, Metric.from_recipe(recipe["evaluation"].get("metric"), where))
    seconds = float(schema.field(data, "seconds", float, where, least=0))
    return {
        "learner": learner, "recipe": recipe, "scores": scores, "query_count": count, "seconds": seconds,
        "environment": environment, "interval": interval, "provenance": provenance,
    }  # fmt: skip


def line_checksum(data: dict[str, Any], where: str = "this result") -> str:
    """Digest of all fields but the seconds, in which the same run differs from time to time."""
    return _hash({name: value for name, value in data.items() if name not in ("checksum", "seconds")}, where)


def _check_recipe(recipe: dict[str, Any], where: str) -> None:
    schema.field(recipe, "learner", dict, where)
    if _FORMER in recipe and "evaluation" in recipe:
        raise ValueError(f"{where}: the recipe has both 'evaluation' and {_FORMER!r}, its old name; remove one.")
    evaluation = schema.field(current_recipe(recipe), "evaluation", dict, where)
    schema.field(schema.field(evaluation, "dataset", dict, where), "name", str, where)
    for name in ("way", "shot", "query"):
        schema.field(evaluation, name, (int, type(None)), where, default=None, least=0, most=2**40)
    schema.field(evaluation, "metric", (str, dict, type(None)), where, default=None)


def _scores(data: Mapping[str, Any], where: str, metric: Metric) -> tuple[NDArray[np.float64], int]:
    """Scores ``[episodes]`` and queries per episode, checked against one another."""
    episodes = schema.field(data, "episodes", int, where, least=1)
    count = schema.field(data, "query_count", int, where, least=0, most=2**40)
    name, kind = ("correct", int) if count else ("scores", float)
    listed = schema.field(data, name, list, where, each=kind)
    if len(listed) != episodes:
        raise ValueError(f"{where}: the field {name!r} has {len(listed):,} entries for {episodes:,} episodes.")
    low, high = (0, count) if count else metric.bounds
    for place in (listed.index(min(listed)), listed.index(max(listed))):
        if not low - 1e-9 <= listed[place] <= high + 1e-9:
            given = f"{where}: entry {place} of the field {name!r} is {_short(listed[place])}"
            raise ValueError(f"{given}; it must be {low:g} to {high:g}.")
    scores = np.asarray(listed, np.float64) / (count or 1)
    mean = schema.field(data, "mean", float, where)
    if abs(mean - scores.mean()) > 1e-6 * max(1.0, abs(mean)):
        raise ValueError(f"{where}: the field 'mean' is {mean:.6g}, but the scores have the mean {scores.mean():.6g}.")
    return scores, count


def _hash(values: Any, where: str) -> str:
    try:
        return recipe_hash(values)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{where}: a field is not plain JSON ({type(error).__name__}).") from None


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**18:
        return f"a number of {value.bit_length()} bits"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."

"""`Cell`: one learner evaluated on one task, and how its predictions are scored."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.answers import Answers
from episodes.draw import Draw
from episodes.episode import Episode
from episodes.episode_map import hardest_and_typical, map_episode
from episodes.identity import UnknownIdentityError, digest
from episodes.metrics import METRICS, Metric
from episodes.outliers import outlier_scores
from episodes.predictions import Predictions
from episodes.result import Result, recipe_hash
from episodes.samplers.sampler import Sampler
from episodes.setting import allowed, setting_of
from episodes.source import Source

Learns = Callable[[Episode], Tensor]
OutOfMemory: type[Exception] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)


@dataclass(eq=False)
class Cell:
    """One learner evaluated on one task."""

    name: str
    learner: Learns
    sources: Mapping[str, Source]
    evaluation: dict[str, Any]
    episodes: int
    device: torch.device
    text: Tensor | None
    metric: Metric = METRICS["accuracy"]
    keep_predictions: bool = False
    done: int = 0
    seconds: float = 0.0
    query_count: int | None = None  # None: no episode scored yet; 0: it varies
    clocks: list[Clock] = field(default_factory=list)
    answered: list[_Answered] = field(default_factory=list)  # in the block at hand
    kept: list[Predictions] = field(default_factory=list)  # in blocks before
    scores: NDArray[np.float64] = field(init=False)
    setting: str | None = field(init=False)

    def __post_init__(self) -> None:
        self.scores = np.zeros(self.episodes)
        self.setting = setting_of(self.learner)
        self.source = self._choose_source()
        module = self.learner if isinstance(self.learner, torch.nn.Module) else None
        if module is not None:
            module.to(self.device)
        if "text" in getattr(self.learner, "needs", ()) and self.text is None:
            raise ValueError(
                f"{self.name!r} needs class text, but none was given; pass text=[C, D], one vector per class."
            )
        identity = learner_identity(self.learner)
        self.recipe = _unicode({"learner": identity, "evaluation": self.evaluation})
        self.key = recipe_hash(self.recipe)

    def _choose_source(self) -> Source:
        wants = getattr(self.learner, "inputs", None)
        if "" in self.sources:
            source = self.sources[""]
            if wants is not None and wants != source.kind:
                hint = (
                    "embed them first (fewshot.embed), with the encoder 'pixels' for raw pixels"
                    if wants == "features"
                    else "give the images themselves as source"
                )
                raise ValueError(f"{self.name!r} learns from {wants}, but {source.name!r} holds {source.kind}; {hint}.")
            return source
        if wants not in self.sources:
            raise ValueError(f"{self.name!r} learns from {wants}, but the sources given are {sorted(self.sources)}.")
        return self.sources[str(wants)]

    @property
    def predictions(self) -> Predictions | None:
        """Predictions for the episodes done so far, where they are kept."""
        if len(self.kept) > 1:
            self.kept = [Predictions.joined(self.kept)]
        return self.kept[0] if self.kept else None

    def draw_maps(self, sampler: Sampler) -> None:
        """Add to predictions that are kept the maps of the hardest and of a typical episode."""
        kept = self.predictions
        if kept is not None:
            chosen = hardest_and_typical(kept.accuracies())
            maps = [map_episode(sampler.draw(number, 1).alone(), self.source) for number in chosen]
            self.kept = [replace(kept, maps=maps)]

    def resume(self, scores: NDArray[np.float64], query_count: int | None, kept: Predictions | None) -> None:
        """Continue after the known episodes; where predictions are kept, after those with known predictions."""
        known = min(len(scores), self.episodes)
        if self.keep_predictions:
            known = min(known, 0 if kept is None else len(kept))
            if known and kept is not None:
                try:
                    self.kept = [kept.of_scores(scores[:known], accuracies=self.metric.counts)]
                except ValueError:
                    known, self.kept = 0, []
        self.done, self.query_count = known, query_count if known else None
        self.scores[:known] = scores[:known]

    def result(self, environment: dict[str, Any], seconds: float) -> Result:
        """The finished cell."""
        provenance: dict[str, Any] = {} if self.setting is None else {"setting": self.setting}
        if report := getattr(self.source, "report", None):
            provenance["embedding"] = report
        interval = "disjoint" if self.evaluation.get("sampler") == "disjoint" else "episodes"
        count, name = self.query_count or 0, str(_unicode(self.name))
        return Result(
            name, self.recipe, self.scores, count, seconds, environment, interval, provenance, self.predictions
        )


@dataclass(frozen=True)
class _Answered:
    """What is kept of the predictions for some episodes: numbers for each scored query, on the learner's device."""

    ids: Tensor  # [E]
    known: Tensor  # [E, Q]
    predicted: Tensor  # [E, Q], as classes of the episode
    confidence: Tensor  # [E, Q]
    log_likelihood: Tensor  # [E, Q]


def score(cell: Cell, episode: Episode, targets: Tensor) -> Tensor:
    """Score of one learner in each episode ``[E]``, NaN where logits are not finite.

    Nothing here waits for an accelerator: predictions are counted, and bad ones reported, once per block.
    """
    clock = Clock(targets.device)
    try:
        logits = cell.learner(allowed(episode, cell.setting))
    except OutOfMemory:
        raise
    except Exception as error:
        if type(error) in (ValueError, RuntimeError, TypeError, IndexError):
            where = f"{cell.name!r} failed on {episode!r} ({episode.support.device})"
            raise type(error)(f"{where}: {error}") from error
        raise
    clock.stop()
    cell.clocks.append(clock)
    expected = [len(episode), targets.shape[1], episode.way]
    if not isinstance(logits, Tensor) or list(logits.shape) != expected:
        given = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"{cell.name!r} returned logits {given}; they must be [E, Q, N] = {expected}.")
    metric, outliers = cell.metric, None
    if metric.open_set:
        outliers = outlier_scores(cell.learner, episode, logits)
        if outliers.shape != targets.shape:
            raise ValueError(f"{cell.name!r} gave outlier scores {list(outliers.shape)}; they must be [E, Q].")
    answers = Answers(logits, targets, outliers)
    assert metric.function is not None  # evaluate refuses metrics that were read from a file
    scores = metric.function(answers)
    if not isinstance(scores, Tensor) or scores.shape != (len(episode),):
        given = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"metric {metric.name!r} gave {given}; it must give a tensor [E] = [{len(episode)}].")
    if cell.keep_predictions:
        assert episode.ids is not None
        cell.answered.append(
            _Answered(episode.ids, answers.known, answers.predicted, answers.confidence, answers.log_likelihood)
        )
    fine = answers.best.values.isfinite().all(1)
    if outliers is not None:
        fine &= ~outliers.isnan().any(1)
    return torch.where(fine, scores.double().nan_to_num(torch.inf, torch.inf, -torch.inf), torch.nan)


def record(cell: Cell, scores: Tensor, drawn: Draw, first: int) -> None:
    """Move the scores of one block of episodes to the cell, and the predictions where they are kept."""
    stop = first + len(scores)
    if stop <= cell.done:
        return
    new = slice(max(cell.done - first, 0), len(scores))
    values = scores.cpu().numpy()[new]
    counts = (drawn.targets >= 0).sum(1).numpy()[new]
    cell.seconds += sum(clock.seconds() for clock in cell.clocks)
    cell.clocks.clear()
    _check(cell, values, first + new.start)
    cell.scores[first + new.start : stop] = values
    same = int(counts[0]) if (counts == counts[0]).all() and cell.metric.counts else 0
    cell.query_count = same if cell.query_count in (None, same) else 0
    cell.done = stop
    if cell.keep_predictions:
        cell.kept.append(_predictions(cell, drawn, first, new))
        cell.answered.clear()


def _check(cell: Cell, values: NDArray[np.float64], first: int) -> None:
    """Refuse scores that are not finite or out of range, and name the episode."""
    low, high = cell.metric.bounds
    wrong = ~np.isfinite(values) | (values < low - 1e-9) | (values > high + 1e-9)
    if not wrong.any():
        return
    number, score = first + int(wrong.argmax()), float(values[wrong.argmax()])
    what = "returned NaN or no finite logit in"
    if not np.isnan(score):
        what = f"has {cell.metric.name} = {score:g}, which is not finite or outside {low:g} to {high:g}, in"
    raise ValueError(
        f"{cell.name!r} {what} episode {number}; look at its rows there: sampler.draw(first={number}, count=1)."
    )


def _predictions(cell: Cell, drawn: Draw, first: int, new: slice) -> Predictions:
    """The predictions for the new episodes of a block, as rows and classes of the dataset."""
    known = (drawn.targets >= 0).numpy()  # [E, Q]
    counts = known.sum(1)
    starts = np.cumsum(counts) - counts  # [E]
    columns = {"predicted": np.int64, "confidence": np.float32, "log_likelihood": np.float32}
    found = {name: np.zeros(counts.sum(), dtype) for name, dtype in columns.items()}
    for part in cell.answered:  # where memory ran out, some episodes were evaluated twice: the same
        here = part.known.cpu().numpy()
        place = (starts[part.ids.cpu().numpy() - first, None] + here.cumsum(1) - 1)[here]
        for name, column in found.items():
            column[place] = getattr(part, name).float().cpu().numpy()[here]
    episode = np.repeat(np.arange(len(counts)), counts)
    way, classes = drawn.targets.numpy()[known], drawn.classes.numpy()
    cut = slice(int(starts[new.start]), None)
    return Predictions(
        counts=counts[new].astype(np.int32), rows=drawn.query.numpy()[known][cut],
        targets=classes[episode, way][cut].astype(np.int32),
        predicted=classes[episode, found["predicted"]][cut].astype(np.int32),
        confidence=found["confidence"][cut], log_likelihood=found["log_likelihood"][cut],
        class_names=tuple(map(str, cell.source.class_names)),
    )  # fmt: skip


class Clock:
    """Seconds between its making and `stop`, on an accelerator without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
        self._begin = time.perf_counter()
        if self._events:
            self._events[0].record()

    def stop(self) -> None:
        """End the measurement."""
        self._end = time.perf_counter()
        if self._events:
            self._events[1].record()

    def seconds(self) -> float:
        """What was measured; on an accelerator after it has caught up."""
        if self._events:
            return float(self._events[0].elapsed_time(self._events[1])) / 1000
        return self._end - self._begin


def learner_identity(learner: Learns) -> dict[str, str]:
    """A learner in a recipe: its spec, for readers, and all that its predictions depend on, as a digest.

    One whose identity is unknown gets a random one: its scores can be read, but never resumed from.
    """
    named = learner if hasattr(learner, "__qualname__") else type(learner)
    spec = repr(learner) if isinstance(learner, torch.nn.Module) else f"{named.__module__}.{named.__qualname__}"
    # Weights that do not train behave otherwise where a learner adapts its own.
    parameters = learner.named_parameters() if isinstance(learner, torch.nn.Module) else ()
    fixed = [name for name, value in parameters if not value.requires_grad]
    try:
        return {"spec": spec, "identity": digest([learner, fixed])}
    except UnknownIdentityError as error:
        return {"spec": spec, "identity": uuid.uuid4().hex, "unknown": str(error)}


def _unicode(value: Any) -> Any:
    """JSON values whose strings can be written as UTF-8; names of folders need not be."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_unicode(key): _unicode(item) for key, item in value.items()}
    return [_unicode(item) for item in value] if isinstance(value, (list, tuple)) else value

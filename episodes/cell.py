"""`Cell`: one learner at work on one exam, and how its answers are marked."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.draw import OPEN
from episodes.episode import Episode
from episodes.identity import UnknownIdentityError, digest
from episodes.outliers import METRICS, outlier_scores
from episodes.results import Result, recipe_hash
from episodes.source import Source

Learns = Callable[[Episode], Tensor]
OutOfMemory: type[Exception] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)


@dataclass
class Cell:
    """One learner at work on one exam."""

    name: str
    learner: Learns
    sources: Mapping[str, Source]
    exam: dict[str, Any]
    episodes: int
    device: torch.device
    text: Tensor | None
    metric: str = "accuracy"
    done: int = 0
    seconds: float = 0.0
    query_count: int | None = None  # None: no episode marked yet; 0: it varies
    clocks: list[Clock] = field(default_factory=list)
    scores: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.scores = np.zeros(self.episodes)
        self.source = self._choose_source()
        module = self.learner if isinstance(self.learner, torch.nn.Module) else None
        if module is not None:
            module.to(self.device)
        if "text" in getattr(self.learner, "needs", ()) and self.text is None:
            raise ValueError(
                f"{self.name!r} needs class text, but none was given; pass text=[C, D], one vector per class."
            )
        identity = learner_identity(self.learner)
        self.recipe = {"learner": identity, "exam": self.exam}
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

    def result(self, environment: dict[str, Any], seconds: float) -> Result:
        """The finished cell."""
        provenance = {"embedding": report} if (report := getattr(self.source, "report", None)) else {}
        interval = "disjoint" if self.exam.get("sampler") == "disjoint" else "episodes"
        count = self.query_count or 0
        return Result(self.name, self.recipe, self.scores, count, seconds, environment, interval, provenance)


def mark(cell: Cell, episode: Episode, targets: Tensor) -> Tensor:
    """Number of right answers of one learner in each episode ``[E]``, or its mark by another metric.

    It is -1 where logits are not finite.

    Nothing here waits for an accelerator: answers are counted, and bad ones reported, once per block.
    """
    clock = Clock(targets.device)
    try:
        logits = cell.learner(episode)
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
    if list(logits.shape) != expected:
        raise ValueError(f"{cell.name!r} returned logits {list(logits.shape)}; they must be [E, Q, N] = {expected}.")
    best, answer = logits.max(-1)  # [E, Q]
    if cell.metric == "accuracy":
        points = (answer == targets).sum(1).double()
    else:
        scores = outlier_scores(cell.learner, episode, logits)
        if scores.shape != targets.shape:
            raise ValueError(f"{cell.name!r} gave outlier scores {list(scores.shape)}; they must be [E, Q].")
        points = METRICS[cell.metric](scores, targets >= 0, targets == OPEN)
        points = torch.where(scores.isnan().any(1), -1, points)
    return torch.where(best.isfinite().all(1), points, -1)


def keep(cell: Cell, correct: Tensor, marked: Tensor, first: int) -> None:
    """Move the marks of one block to the cell."""
    stop = first + len(correct)
    if stop <= cell.done:
        return
    new = slice(max(cell.done - first, 0), len(correct))
    right, counts = correct.cpu().numpy()[new], marked.numpy()[new]
    if cell.metric != "accuracy":
        counts = np.ones_like(counts)
    cell.seconds += sum(clock.seconds() for clock in cell.clocks)
    cell.clocks.clear()
    if (right < 0).any():
        number = first + new.start + int((right < 0).argmax())
        raise ValueError(
            f"{cell.name!r} returned NaN or no finite logit in episode {number}; "
            f"look at its rows there: sampler.draw(first={number}, count=1)."
        )
    cell.scores[first + new.start : stop] = right / np.maximum(counts, 1)
    same = int(counts[0]) if (counts == counts[0]).all() and cell.metric == "accuracy" else 0
    cell.query_count = same if cell.query_count in (None, same) else 0
    cell.done = stop


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
    """A learner in a recipe: how it is written, for people, and all that its answers depend on, as a digest.

    One whose identity is unknown gets a random one: its scores can be looked at, but never found again.
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

"""`Cell`: one learner evaluated on one task, with what is known of it so far."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.clock import Clock
from episodes.episode import Episode
from episodes.episode_map import hardest_and_typical, map_episode
from episodes.identity import UnknownIdentityError, digest
from episodes.metrics import METRICS, Metric
from episodes.predictions import Predictions
from episodes.result import Result, recipe_hash
from episodes.samplers.sampler import Sampler
from episodes.setting import setting_of
from episodes.source import Source

Learns = Callable[[Episode], Tensor]


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
    answered: list[Answered] = field(default_factory=list)  # in the block at hand
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
        if isinstance(self.learner, torch.nn.Module):
            count = sum(value.numel() for value in self.learner.parameters())
            provenance |= {"parameters": count} if count else {}
        interval = "disjoint" if self.evaluation.get("sampler") == "disjoint" else "episodes"
        queries, name = self.query_count or 0, str(_unicode(self.name))
        return Result(
            name, self.recipe, self.scores, queries, seconds, environment, interval, provenance, self.predictions
        )


@dataclass(frozen=True)
class Answered:
    """What is kept of the predictions for some episodes: numbers for each scored query, on the learner's device."""

    ids: Tensor  # [E]
    known: Tensor  # [E, Q]
    predicted: Tensor  # [E, Q], as classes of the episode
    confidence: Tensor  # [E, Q]
    log_likelihood: Tensor  # [E, Q]


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

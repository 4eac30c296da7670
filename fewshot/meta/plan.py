"""What a training is to do, what to watch meanwhile, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from episodes.source import Source
from fewshot.meta.schedule import SCHEDULES

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass
class Training:
    """What a training was and what came of it.

    Attributes:
        learner: trained, with the best weights where there was validation, else the last.
        step: updates done.
        best: highest validation accuracy, or None.
        best_step: when.
        history: one dict per report: step, loss, accuracy, rate, throughput, validation accuracy.
    """

    learner: nn.Module
    step: int = 0
    best: float | None = None
    best_step: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """All that decides the weights, the data aside; a resumed run must have the same."""

    steps: int
    batch: int
    accumulate: int
    optimiser: str
    rate: float
    decay: float
    schedule: str
    warm_up: int
    clip: float | None
    precision: str
    first: int

    def check(self) -> None:
        """Refuse numbers out of range and unknown names.

        Raises:
            ValueError: there is one.
        """
        if min(self.steps, self.batch, self.accumulate) < 1 or self.rate <= 0 or self.decay < 0 or self.warm_up < 0:
            raise ValueError(
                f"steps={self.steps}, batch={self.batch}, accumulate={self.accumulate}, rate={self.rate}, "
                f"decay={self.decay}, warm_up={self.warm_up}; the first three at least 1, the rate positive, the "
                "others not negative."
            )
        for name, value, known in (("optimiser", self.optimiser, tuple(OPTIMISERS)),
                                   ("schedule", self.schedule, SCHEDULES),
                                   ("precision", self.precision, PRECISIONS)):  # fmt: skip
            if value not in known:
                raise ValueError(f"{name}={value!r}; it must be one of {', '.join(known)}.")


@dataclass(frozen=True)
class Watch:
    """What goes on beside the updates: it decides when training ends, and which weights are best."""

    every: int
    validation: tuple[Source, Any] | Callable[[], float] | None  # rows and sampler, or what gives the accuracy
    validation_episodes: int
    patience: int | None
    out: str | os.PathLike[str] | None
    callbacks: Sequence[Callable[[dict[str, Any]], Any]]
    progress: bool
    unit: str  # what a batch is of

"""The plan of a training, its monitoring, and its results."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from episodes.renamed import former_names
from episodes.source import Source
from fewshot.meta.schedule import SCHEDULES

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
PRECISIONS = ("float32", "bfloat16", "float16")

__getattr__ = former_names(__name__, Watch="Monitoring")


@dataclass
class Training:
    """The results of a training.

    Attributes:
        learner: trained, with the best weights where there was validation, else the last.
        step: updates done.
        best: highest validation accuracy, or None.
        best_step: when.
        history: one dict per report: step, loss, accuracy, lr, throughput, validation accuracy.
    """

    learner: nn.Module
    step: int = 0
    best: float | None = None
    best_step: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """All that decides the weights, the data aside; a resumed run must have the same, or more steps."""

    steps: int
    batch: int
    accumulate: int
    optimizer: str
    lr: float
    weight_decay: float
    schedule: str
    warm_up: int
    clip: float | None
    precision: str
    seed: int

    def check(self) -> None:
        """Refuse numbers out of range and unknown names.

        Raises:
            ValueError: there is one.
        """
        least = {"steps": 1, "batch": 1, "accumulate": 1, "warm_up": 0, "seed": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
                raise ValueError(f"{name}={value!r}; it must be an integer of at least {lowest}.")
        if not 0 < self.lr < float("inf") or not 0 <= self.weight_decay < float("inf"):
            raise ValueError(
                f"lr={self.lr}, weight_decay={self.weight_decay}; the first must be positive, the second not negative."
            )
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip={self.clip}; it must be positive, or None.")
        for name, value, known in (("optimizer", self.optimizer, tuple(OPTIMIZERS)),
                                   ("schedule", self.schedule, SCHEDULES),
                                   ("precision", self.precision, PRECISIONS)):  # fmt: skip
            if value not in known:
                raise ValueError(f"{name}={value!r}; it must be one of {', '.join(known)}.")


@dataclass(frozen=True)
class Monitoring:
    """What is done beside the updates: it decides when training ends, and which weights are best."""

    every: int
    validation: tuple[Source, Any] | Callable[[], float] | None  # rows and sampler, or what gives the accuracy
    validation_episodes: int
    patience: int | None
    out: str | os.PathLike[str] | None
    callbacks: Sequence[Callable[[dict[str, Any]], Any]]
    progress: bool
    unit: str  # what a batch is of

    def check(self) -> None:
        """Refuse settings that contradict one another.

        Raises:
            ValueError: an interval below 1, or patience without validation.
        """
        for name in ("every", "validation_episodes"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name}={value}; it must be at least 1.")
        if self.patience is not None and (self.validation is None or self.patience < 1):
            raise ValueError(
                f"patience={self.patience}: it counts reports without a better validation, so it must be at least 1, "
                "and needs validation=(source, sampler)."
            )

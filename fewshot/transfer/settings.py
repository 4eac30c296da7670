"""How a fine-tuning trains, whatever its strategy; checked at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from episodes.identity import digest
from fewshot.transfer.heads import HEADS
from fewshot.transfer.strategies import Strategy

_ROWS_SEEN, _FEWEST, _MOST = 10_000, 5, 50  # passes over the rows by default


@dataclass(frozen=True)
class Settings:
    """The arguments of `fine_tune` that decide the weights, data, encoder and strategy aside."""

    epochs: int | None
    batch_size: int
    lr: float | None
    head_lr: float | None
    optimizer: str
    weight_decay: float
    schedule: str
    warm_up: float
    clip: float | None
    head: str
    batch_norm: str
    layer_decay: float
    l2_sp: float | tuple[float, float] | None
    label_smoothing: float
    mixup: float
    augment: Callable[[Tensor, torch.Generator], Tensor] | None
    wise: float | None
    swa: float | None
    prefix: str | bool
    precision: str
    seed: int
    views: int = 0

    def check(self, phases: Sequence[Strategy]) -> None:
        """Refuse what is out of range, or makes no sense with these strategies.

        Raises:
            ValueError: there is such a thing.
        """
        if isinstance(self.l2_sp, (tuple, list)) and len(self.l2_sp) != 2:
            raise ValueError(f"l2_sp={self.l2_sp!r}; it must be alpha, or (alpha, beta).")
        ranges = {
            "epochs": (self.epochs is None or self.epochs >= 1, "at least 1, or None"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "lr": (self.lr is None or self.lr > 0, "positive, or None"),
            "head_lr": (self.head_lr is None or self.head_lr > 0, "positive, or None"),
            "warm_up": (0 <= self.warm_up <= 1, "a share of the updates, 0..1"),
            "head": (self.head in HEADS, f"one of {', '.join(HEADS)}"),
            "batch_norm": (self.batch_norm in ("auto", "frozen", "train"), "one of auto, frozen, train"),
            "layer_decay": (0 < self.layer_decay <= 1, "in 0..1, without 0"),
            "l2_sp": (min(self.penalty or (0.0, 0.0)) >= 0, "not negative"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "in 0..1, without 1"),
            "mixup": (self.mixup >= 0, "not negative"),
            "wise": (self.wise is None or 0 <= self.wise <= 1, "in 0..1, or None"),
            "swa": (self.swa is None or 0 < self.swa <= 1, "in 0..1 without 0, or None"),
            "views": (type(self.views) is int and self.views >= 0, "a number of views, or 0"),
            "prefix": (self.prefix in ("auto", True, False), "'auto', True or False"),
        }
        for name, (fine, allowed) in ranges.items():
            if not fine:
                raise ValueError(f"{name}={getattr(self, name)!r}; it must be {allowed}.")
        if self.views and self.augment is None:
            raise ValueError(
                f"views={self.views} without augment: views are random versions of each image; say how they are made, "
                "such as augment='flip | crop(0.8)'."
            )
        if self.views and self.mixup:
            raise ValueError(
                f"views={self.views} with mixup={self.mixup}: mixup makes new images in every step, of which nothing "
                "can be computed once; leave one of them out."
            )
        for phase in phases:
            phase.check(self)
            if not phase.pretrained and (self.l2_sp is not None or self.wise is not None):
                raise ValueError(f"l2_sp and wise draw to the pretrained weights, which {phase.name!r} throws away.")
            if phase.name == "lora" and self.l2_sp is not None:
                raise ValueError(
                    "l2_sp draws weights to where they began, but 'lora' does not move them; leave it out."
                )

    @property
    def penalty(self) -> tuple[float, float] | None:
        """(alpha, beta) of L2-SP."""
        if self.l2_sp is None:
            return None
        if isinstance(self.l2_sp, (tuple, list)):
            alpha, beta = self.l2_sp
            return alpha, beta
        return float(self.l2_sp), 0.01

    @property
    def still(self) -> bool:
        """Whether all inputs are known beforehand, so that what does not train can be computed once."""
        return (self.augment is None or self.views > 0) and not self.mixup

    def passes(self, phase: Strategy, rows: int) -> int:
        """Epochs of a phase."""
        return phase.epochs or self.epochs or phase.own_epochs or min(_MOST, max(_FEWEST, _ROWS_SEEN // rows))

    def averaged(self, epochs: int) -> int:
        """How many epochs, the last ones of a phase, are averaged: at least one; 0 where none is."""
        return 0 if self.swa is None else max(1, round(self.swa * epochs))

    def rates(self, phase: Strategy) -> tuple[float, float]:
        """Rates of network and head: of the strategy as written, else as given here, else its own."""
        return phase.lr or self.lr or phase.rates[0], phase.head_lr or self.head_lr or phase.rates[1]

    def identity(self) -> dict[str, Any]:
        """What a resumed run must have the same, in JSON."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("augment", "prefix")}
        for name, none in (("swa", None), ("views", 0)):  # so that what began before there were these can go on
            if own[name] == none:
                del own[name]
        return {**own, "augment": None if self.augment is None else digest(self.augment)}

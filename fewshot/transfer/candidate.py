"""`Candidate`: one way to solve a task, what it costs, and what all candidates share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from episodes.identity import UnknownIdentityError
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.outlook import Outlook


@dataclass(frozen=True)
class Setting:
    """What all candidates share: device, cache of embeddings, passes over the rows, seed; and features once known."""

    device: Any = "auto"
    cache: Any = None
    epochs: int | None = None
    seed: int = 0
    held: dict[int, tuple[Encoder, Any, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def features(self, encoder: Encoder, source: Any) -> Tensor:
        """Features of all rows of a source ``[M, D]``, kept in memory for the last one that was asked about."""
        from fewshot.embedding import embed

        known = self.held.get(id(encoder))
        if known is not None and known[0] is encoder and known[1] is source:
            return known[2]
        options: dict[str, Any] = {"device": self.device, "storage": "float32", "progress": False}
        rows = embed(source, encoder, cache=self.cache_of(encoder), **options).features.float().cpu()
        self.held[id(encoder)] = encoder, source, rows
        return rows

    def cache_of(self, encoder: Encoder) -> Any:
        """None is kept for encoders whose identity is known."""
        try:
            _ = encoder.fingerprint
        except (UnknownIdentityError, TypeError):
            return False
        return self.cache


@dataclass(frozen=True)
class Cost:
    """Seconds of a candidate: ``fixed + sum_p steps_p step_p + rows forward``.

    Attributes:
        fixed: of preparing.
        steps: of one update, for each strategy of the sequence.
        forward: of one row through the network.
        trained: numbers that train at the most.
    """

    fixed: float
    steps: tuple[float, ...]
    forward: float
    trained: int


class Candidate:
    """One way to solve the task.

    Attributes:
        encoder: name of the encoder, or of what stands in its place, as it is shown.
        spec: of the encoder, as code has it.
        strategy: how it is used.
        kind: ``"transfer"``, ``"scratch"`` (an architecture without its weights) or ``"trivial"`` (no network).
        anchor: whether it costs next to nothing and is what the others are compared with.
    """

    kind: str = "transfer"
    anchor: bool = False
    encoder: str
    spec: str
    strategy: str

    @property
    def name(self) -> str:
        """Both."""
        return f"{self.encoder}, {self.strategy}"

    def identity(self) -> str:
        """A digest of all that its answers depend on, data aside.

        Raises:
            UnknownIdentityError: something has no identity that holds across processes.
        """
        raise NotImplementedError

    def answers(self, source: Any, train: Tensor, test: Tensor, how: Setting) -> Tensor:
        """Learn from some rows of a source ``[S]``, and classify others ``[Q]``: numbers of classes ``[Q]``."""
        raise NotImplementedError

    def measure(self, few: Any, how: Setting) -> Cost:
        """What it costs, from a short trial on a few rows.

        Raises:
            ValueError: the strategy has nothing to train in this network.
        """
        raise NotImplementedError

    def seconds(self, cost: Cost, train: int, test: int, how: Setting) -> float:
        """Prediction for so many rows."""
        return cost.fixed + (train + test) * cost.forward

    def outlook(self, frozen: float | None, trivial: float | None, rows: float) -> Outlook:
        """Accuracy that may be expected before it is tried; here: anything.

        Args:
            frozen: accuracy of a simple classifier on frozen features of the same encoder, where that is known.
            trivial: accuracy without any network, where that is known.
            rows: of each class.
        """
        return Outlook(0.5, 0.5)

    def recipe(self) -> str:
        """How to do it on all rows, as code."""
        raise NotImplementedError

"""What a fine-tuning is about to train, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from fewshot.transfer.body import Anatomy, plain_name, stage_of

_FEW_ROWS, _SMALL_BATCH = 1000, 32  # below either, batch statistics are too noisy to be learned from


@dataclass(frozen=True)
class StageLine:
    """One stage in one phase: numbers held and trained, shape of its output, rate at its peak."""

    name: str
    count: int
    trained: int
    shape: tuple[int, ...] | None
    rate: float


@dataclass(frozen=True)
class PhasePlan:
    """One strategy of a sequence.

    Attributes:
        strategy: as written.
        epochs: passes over the rows.
        steps: updates in all.
        lines: the stages, from the input on; the head is the last.
        names: of the parameters of the network that are trained at any time.
        rates: of each of them, at the peak of the schedule.
        batch_norm: ``"frozen"``: batch norms use their running statistics; ``"train"``: those of the batch.
        cut: number of the first trained stage where the stages before it are computed once, or None.
        averaged: epochs, the last ones, whose weights are averaged.
        views: of each image, in turn from epoch to epoch; 0: the images, or augmented ones that no epoch shares.
    """

    strategy: str
    epochs: int
    steps: int
    lines: tuple[StageLine, ...]
    names: frozenset[str]
    rates: dict[str, float]
    batch_norm: str
    cut: int | None
    averaged: int = 0
    views: int = 0

    @property
    def first(self) -> int:
        """Number of the first trained stage; that of the head where no other is."""
        return next(place for place, line in enumerate(self.lines) if line.trained)

    def __str__(self) -> str:
        head = ("stage", "output", "numbers", "trained", "rate")
        rows = [
            (
                line.name,
                "x".join(map(str, line.shape)) if line.shape is not None else "",
                f"{line.count:,}",
                f"{line.trained:,}" if line.trained else "frozen",
                f"{line.rate:.2g}" if line.trained else "",
            )
            for line in self.lines
        ]
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(5)]
        table = [
            "  ".join(text.ljust(width) if column < 2 else text.rjust(width)
                      for column, (text, width) in enumerate(zip(row, widths, strict=True))).rstrip()
            for row in [head, *rows]
        ]  # fmt: skip
        norms = "running statistics" if self.batch_norm == "frozen" else "statistics of the batch"
        cut = "" if self.cut is None else f"; stages before {self.lines[self.cut].name!r} are computed once"
        mean = f"; weights: mean of the last {self.averaged} epochs" if self.averaged else ""
        seen = f"; {self.views} views of each image" if self.views else ""
        title = f"{self.strategy}: {self.epochs} epochs, {self.steps} steps; batch norms: {norms}{seen}{cut}{mean}"
        return "\n".join([title, *table])


@dataclass(frozen=True)
class TuningPlan:
    """All phases of a fine-tuning; ``str(plan)`` is a table of stages for each."""

    phases: tuple[PhasePlan, ...]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.phases))


def stage_lines(
    anatomy: Anatomy, network: nn.Module, names: frozenset[str], rates: dict[str, float]
) -> tuple[StageLine, ...]:
    """The stages of a network as its strategy prepared it."""
    at = stage_of(anatomy.parts)
    trained = [0] * len(anatomy.parts)
    peak = [0.0] * len(anatomy.parts)
    for name, parameter in network.named_parameters():
        if name in names:
            place = at[plain_name(name)]
            trained[place] += parameter.numel()
            peak[place] = max(peak[place], rates[name])
    return tuple(
        StageLine(part.name, part.count, trained[place], anatomy.shapes[place], peak[place])
        for place, part in enumerate(anatomy.parts)
    )


def decayed_rates(anatomy: Anatomy, names: frozenset[str], rate: float, decay: float) -> dict[str, float]:
    """Rates by depth: ``rate decay^(S - s)`` in stage s = 0..S-1 of S; the head, in place S, has a rate of its own.

    Reference: Clark, Luong, Le, Manning, "ELECTRA", ICLR 2020, arXiv:2003.10555.
    """
    at, last = stage_of(anatomy.parts), len(anatomy.parts)
    return {name: rate * decay ** (last - at[plain_name(name)]) for name in names}


def batch_norm_mode(choice: str, rows: int, batch: int, pretrained: bool, folded: bool) -> str:
    """``"frozen"`` or ``"train"``; fresh weights have no running statistics to rely on, folded norms no others."""
    if choice != "auto":
        return choice
    return "frozen" if folded or (pretrained and (rows < _FEW_ROWS or batch < _SMALL_BATCH)) else "train"

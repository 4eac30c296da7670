"""What a strategy is expected to gain over logistic regression on frozen features, before anything is tried."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fewshot.transfer.outlook import Outlook
from fewshot.transfer.strategies import LinearProbe, Strategy

FEW, MANY = 5, 30  # rows a class for which the gains are given
# Shares of the error that logistic regression leaves. With few rows: half the mean gain found by
# benchmarks/strategy_gains.py, rounded, since one draw of three sets is little evidence; lp-ft, which gained nothing
# there, gets a little for Kumar et al. (ICLR 2022). With many: what trains more gains more, as Kornblith et al. (CVPR
# 2019) found; that is not measured here. The sets of benchmarks/four_cells.py, on which the advisor is measured, are
# not among these three.
GAINS = {
    "linear-probe": (-0.05, -0.05), "last(1)": (0.0, 0.05), "last": (0.1, 0.1), "norm": (0.1, 0.1),
    "bias": (0.05, 0.05), "lora": (0.1, 0.15), "gradual": (0.05, 0.1), "lp-ft": (0.05, 0.15), "full": (0.1, 0.2),
}  # fmt: skip
_SPREAD, _LEAST = 0.2, 0.02  # standard deviation of the gain, and of the accuracy at the least
_UNKNOWN = Outlook(0.5, 0.5)
_SCRATCH = 0.15  # how far from no network at all training from scratch is found


def expected(phases: Sequence[Strategy], frozen: float | None, rows: float) -> Outlook:
    """Outlook of a strategy that begins with pretrained weights.

    ``frozen + g (1 - frozen)``, with g by strategy and by the logarithm of the rows of a class.

    Args:
        phases: of the strategy.
        frozen: accuracy of logistic regression on the features of the same encoder; None where that is not known.
        rows: of a class.
    """
    if frozen is None:
        return _UNKNOWN
    few, many = GAINS.get(_key(phases), (0.0, 0.0))
    place = min(1.0, max(0.0, math.log(max(rows, 1.0) / FEW) / math.log(MANY / FEW)))
    wrong = 1 - frozen
    return Outlook(frozen + wrong * (few + place * (many - few)), max(_LEAST, _SPREAD * wrong))


def expected_from_scratch(trivial: float | None) -> Outlook:
    """Outlook of an architecture without its weights: about what no network at all is."""
    return _UNKNOWN if trivial is None else Outlook(trivial, _SCRATCH)


def _key(phases: Sequence[Strategy]) -> str:
    last = phases[-1]
    if last.name == "full" and len(phases) > 1 and isinstance(phases[0], LinearProbe):
        return "lp-ft"
    return "last(1)" if last.name == "last" and getattr(last, "k", 0) == 1 else last.name

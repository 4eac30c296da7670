"""`Outlook`: what is expected of a candidate, from what its kind gained elsewhere and from held-out rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DISAGREE, _PSEUDO = 0.15, 4.0  # variance of a difference of two answers, and the rows that this is worth
_SHIFT = 0.02  # accuracy by which a difference may move when the rows to learn from are doubled


@dataclass(frozen=True)
class Outlook:
    """Accuracy expected of a candidate: a normal distribution.

    Attributes:
        mean: accuracy.
        sd: its standard deviation.
    """

    mean: float
    sd: float

    def updated(self, evidence: float, error: float) -> Outlook:
        """After an estimate of the accuracy with a standard error: ``mean = (m/s² + e/r²) / (1/s² + 1/r²)``."""
        own, new = self.sd**-2, error**-2
        return Outlook((self.mean * own + evidence * new) / (own + new), (own + new) ** -0.5)

    def value(self, best: float, rows: int) -> float:
        """Accuracy that so many held-out rows more are expected to add to a choice whose best is `best`.

        ``s f(|m - best| / s)`` with ``f(z) = phi(z) - z (1 - Phi(z))``, where s is how far the mean may move: the
        knowledge gradient of Frazier, Powell, Dayanik, "A knowledge-gradient policy for sequential information
        collection", SIAM Journal on Control and Optimization 2008.
        """
        if rows < 1:
            return 0.0
        after = (self.sd**-2 + rows / _DISAGREE) ** -0.5
        moves = math.sqrt(max(0.0, self.sd**2 - after**2))
        if moves < 1e-12:
            return 0.0
        z = abs(self.mean - best) / moves
        return moves * (math.exp(-z * z / 2) / math.sqrt(2 * math.pi) - z * math.erfc(z / math.sqrt(2)) / 2)


def seen(own: NDArray[np.float64], reference: NDArray[np.float64], doublings: float = 0.0) -> tuple[float, float]:
    """Difference of a candidate from a reference on the same rows, and its standard error.

    A few equal answers do not make it certain: four rows on which the two differ as often as usual are counted in.

    Args:
        own: 1 or 0 for each row ``[Q]``.
        reference: likewise.
        doublings: of the rows learned from, between these episodes and all rows.
    """
    paired = own - reference
    mean = float(paired.mean())
    spread = (float(((paired - mean) ** 2).sum()) + _DISAGREE * _PSEUDO) / (len(paired) + _PSEUDO)
    return mean, math.sqrt(spread / len(paired) + (_SHIFT * doublings) ** 2)

"""Learning-rate schedules as plain functions of the step."""

from __future__ import annotations

import math

SCHEDULES = ("constant", "cosine", "linear")


def rate_at(step: int, steps: int, rate: float, schedule: str, warm_up: int = 0) -> float:
    """The rate of a step: rising over the warm-up, then constant, or falling to zero.

    >>> [round(rate_at(step, 10, 1.0, "linear", warm_up=2), 2) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.12]
    """
    if step < warm_up:
        return rate * (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    if schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * done))
    return rate * (1 - done) if schedule == "linear" else rate

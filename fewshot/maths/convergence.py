"""The warning of an iterative solver that stops before it has converged."""

from __future__ import annotations

import warnings

from torch import Tensor


class ConvergenceWarning(UserWarning):
    """A solver reached its last step before its tolerance; the answer is the best point found."""


def warn_unconverged(problem: str, unfinished: Tensor, steps: int, remedy: str) -> None:
    """Warn if any episode has not converged.

    Args:
        problem: what was to be solved, with the name of the learner.
        unfinished: one number or truth value for each episode, zero where it has converged ``[E, ...]``.
        steps: after how many it was left.
        remedy: what to change.
    """
    count = int(unfinished.count_nonzero())
    if count:
        message = f"{problem}: {count} of {len(unfinished)} episodes had not converged after {steps} steps; {remedy}."
        warnings.warn(message, ConvergenceWarning, stacklevel=2)

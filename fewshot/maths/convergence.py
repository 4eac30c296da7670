"""What is said when an iterative solver stops before it has converged."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


class ConvergenceWarning(UserWarning):
    """A solver reached its last step before its tolerance; the answer is the best point found."""


def warn_unconverged(solver: str, unfinished: Tensor | int, episodes: int, steps: int, remedy: str) -> None:
    """Warn if any episode has not converged.

    Args:
        solver: the learner or problem, and what is solved.
        unfinished: how many episodes have not converged, or which ``[E]``.
        episodes: of how many.
        steps: after how many steps they were left.
        remedy: what to change, as an imperative clause.
    """
    count = int(torch.count_nonzero(unfinished)) if isinstance(unfinished, Tensor) else unfinished
    if count:
        message = f"{solver}: {count} of {episodes} episodes had not converged after {steps} steps; {remedy}."
        warnings.warn(message, ConvergenceWarning, stacklevel=3)

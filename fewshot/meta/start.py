"""The learner that a training begins with."""

from __future__ import annotations

from typing import Any

from torch import nn

from fewshot.learners import load_learner
from fewshot.randomness import drawing_from


def seeded_learner(learner: Any, seed: int) -> nn.Module:
    """A learner; if given in words, with the weights that belong to the seed."""
    if not isinstance(learner, str):
        return load_learner(learner)
    with drawing_from(seed):
        return load_learner(learner)

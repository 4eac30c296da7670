"""The learner that a training begins with."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fewshot.learners import load_learner


def seeded_learner(learner: Any, seed: int) -> nn.Module:
    """A learner; if given in words, with the weights that belong to the seed."""
    if not isinstance(learner, str):
        return load_learner(learner)
    state = torch.get_rng_state()  # modules draw their weights from the global generator, which is put back
    try:
        torch.default_generator.manual_seed(seed)
        return load_learner(learner)
    finally:
        torch.set_rng_state(state)

"""The learner that a training begins with, and the random numbers of modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fewshot.learners import load_learner


def seeded_learner(learner: Any, seed: int) -> nn.Module:
    """A learner; if given in words, with the weights that belong to the seed."""
    if not isinstance(learner, str):
        return load_learner(learner)
    with drawing_from(seed):
        return load_learner(learner)


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Modules draw their first weights, and dropout its zeros, from the global generator, which is put back."""
    state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(state)

"""Scaled prototypes: equal to the learner that it is before training."""

from __future__ import annotations

import torch
from learner_episodes import make

from fewshot import load_learner
from fewshot.learners import ScaledPrototypes


def test_untrained_scaled_prototypes_are_prototypes_by_the_cosine() -> None:
    episode = make([3, 0, 1], dim=8)[0]
    peer = load_learner("prototypes(distance='cosine', scale=7.0)")(episode)
    torch.testing.assert_close(ScaledPrototypes(scale=7.0)(episode), peer)

"""Class means: against easyfsl."""

from __future__ import annotations

import warnings

import pytest
import torch
from learner_episodes import make

from fewshot.learners import Prototypes


def test_prototypes_equal_easyfsl() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports, not ours
        methods = pytest.importorskip("easyfsl.methods", reason="easyfsl is not installed")
        peer = methods.PrototypicalNetworks(torch.nn.Identity())
    learner = Prototypes()
    for shot in (1, 5):
        episode, _ = make([shot] * 5, dim=64, episodes=250, dtype=torch.float32, query=15, spread=0.2)
        ours = learner(episode).argmax(-1)
        for e in range(len(episode)):
            peer.process_support_set(episode.support[e], episode.labels[e])
            theirs = peer(episode.query[e])
            assert torch.equal(ours[e], theirs.argmax(-1))

"""SimpleShot: equal to its pipelines."""

from __future__ import annotations

import torch
from learner_episodes import make

from fewshot import load_learner
from fewshot.learners import SimpleShot


def test_simpleshot_is_a_chain() -> None:
    episode, _ = make([3, 3, 3])
    for normalisation, chain in (("un", "prototypes"), ("l2n", "l2 | prototypes"), ("cl2n", "cl2n | prototypes")):
        found = load_learner(f"simpleshot(normalisation={normalisation!r})")(episode)
        torch.testing.assert_close(found, load_learner(chain)(episode))
    base = 3 + torch.randn(50, episode.support.shape[-1], generator=torch.Generator().manual_seed(0))
    fitted = SimpleShot().fit(base)(episode)
    chain_fitted = load_learner("cl2n | prototypes").fit(base)(episode)  # type: ignore[operator]
    torch.testing.assert_close(fitted, chain_fitted)
    assert not torch.allclose(fitted, SimpleShot()(episode))

"""R2-D2: equal to the learner that it is before training."""

from __future__ import annotations

import pytest
import torch
from learner_episodes import make

from fewshot import load_learner
from fewshot.learners import R2D2


@pytest.mark.parametrize("shots", [(3, 3, 3), (12, 9, 11), (2, 0, 1)])
def test_untrained_r2d2_is_ridge_without_intercept(shots: tuple[int, ...]) -> None:
    episode = make(list(shots), dim=8)[0]
    ours, peer = (
        R2D2(alpha=0.5, scale=3.0)(episode),
        load_learner("ridge(alpha=0.5, scale=3.0, fit_intercept=False)")(episode),
    )
    torch.testing.assert_close(ours, peer)

"""CLIP-Adapter: against slow references and the claims of its own."""

from __future__ import annotations

from functools import partial

import references.text as references
import torch
from learner_episodes import expected, padded, with_text

from fewshot.learners import CLIPAdapter


def test_clip_adapter_equals_autograd() -> None:
    episode, learner = with_text([3, 2, 4]), CLIPAdapter(steps=30, words=0.0)
    layers = [learner._start(0, 16, 4).numpy(), learner._start(1, 4, 16).numpy()]
    wanted = expected(partial(references.clip_adapter, down=layers[0], up=layers[1]), episode)
    torch.testing.assert_close(learner(padded(episode)), wanted, atol=1e-6, rtol=1e-6)

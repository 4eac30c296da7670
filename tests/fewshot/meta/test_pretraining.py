"""Training by plain classification before, or instead of, episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from meta_training_examples import SPEC, TEST, TRAIN, VALIDATE, sampler, weights

from episodes import evaluate
from fewshot import meta_train
from fewshot.meta import pretrain


@pytest.mark.parametrize("cosine", [False, True])
def test_plain_classification_pretrains_the_network(cosine: bool) -> None:
    training = pretrain(SPEC, TRAIN, epochs=8, lr=5e-3, cosine=cosine, progress=False)
    assert training.history[-1]["accuracy"] > training.history[0]["accuracy"]
    results = evaluate(
        {"trained": training.learner, "raw": "prototypes"}, TEST, sampler(TEST, 2), episodes=200, progress=False
    )
    assert results["trained"].mean > results["raw"].mean + 0.1
    further = meta_train(training.learner, TRAIN, sampler(TRAIN), steps=5, progress=False)
    assert further.step == 5


def test_plain_classification_resumes_to_the_same_weights(tmp_path: Path) -> None:
    common: dict[str, Any] = {"epochs": 3, "batch": 50, "every": 4, "warm_up": 3, "clip": 1.0, "progress": False}
    common |= {"validation": (VALIDATE, sampler(VALIDATE)), "validation_episodes": 20}

    def stop(report: dict[str, Any]) -> None:
        if report["step"] == 24:
            raise KeyboardInterrupt

    whole = pretrain(SPEC, TRAIN, **common)
    with pytest.raises(KeyboardInterrupt):
        pretrain(SPEC, TRAIN, out=tmp_path, callbacks=[stop], **common)
    resumed = pretrain(SPEC, TRAIN, out=tmp_path, **common)
    assert (resumed.step, resumed.best, resumed.best_step) == (whole.step, whole.best, whole.best_step) and whole.best
    assert all(torch.equal(value, weights(whole.learner)[name]) for name, value in weights(resumed.learner).items())
    with pytest.raises(ValueError, match="another classifier"):
        pretrain(SPEC, TRAIN, out=tmp_path, cosine=True, **common)


def test_plain_classification_explains_wrong_use() -> None:
    with pytest.raises(ValueError, match="no network in front"):
        pretrain("prototypes", TRAIN)
    with pytest.raises(ValueError, match="epochs=0"):
        pretrain(SPEC, TRAIN, epochs=0)

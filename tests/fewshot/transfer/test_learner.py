"""A strategy as a learner, in the same episodes as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tuning_examples import conv4, pictures

from episodes import EpisodeSampler, TensorSource, evaluate
from episodes.identity import digest_array
from fewshot import fine_tune, load_learner
from fewshot.transfer.learner import Tuned


def test_as_a_learner_it_sits_the_same_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, encoder = pictures(45), conv4()
    sampler = EpisodeSampler(source.labels, way=3, shot=4, query=3)
    learners = {
        "last": Tuned(encoder, "last(1)", epochs=3), "full": Tuned(encoder, "full", epochs=3, lr=1e-3),
        "probe": Tuned(encoder, "linear-probe", epochs=3),
    }  # fmt: skip
    out = tmp_path / "results.jsonl"
    results = evaluate(learners, source, sampler, episodes=2, progress=False, out=out)
    assert np.mean([results[name].mean for name in learners]) > 0.35  # chance is 0.33
    again = evaluate(learners, source, sampler, episodes=2, progress=False, out=out)
    assert all(np.array_equal(again[name].scores, results[name].scores) for name in learners)

    drawn = sampler.draw(0, 1)
    episode, _ = drawn.episode(source[drawn.rows])
    tuned = fine_tune(encoder, TensorSource(episode.support[0], episode.labels[0]), "full", epochs=3, lr=1e-3,
                      cache=False, progress=False)  # fmt: skip
    rows = TensorSource(episode.query[0], torch.zeros(len(episode.query[0]), dtype=torch.int64))
    expected, found = tuned.logits(rows, cache=False), learners["full"](episode)[0]
    assert torch.equal(found.argmax(1), expected.argmax(1))  # batches of other rows are summed in another order
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"augment": "flip | crop(0.8)"}, {"mixup": 0.4}, {"l2_sp": 0.5}, {"layer_decay": 0.5},
        {"label_smoothing": 0.2}, {"wise": 0.5}, {"swa": 1.0},
    ],
    ids=lambda options: next(iter(options)),
)  # fmt: skip
def test_a_learner_tunes_as_fine_tune_does_with_the_same_options(options: dict[str, Any]) -> None:
    source = pictures(9)
    sampler = EpisodeSampler(source.labels, way=3, shot=2, query=1)
    episode, _ = (drawn := sampler.draw(0, 1)).episode(source[drawn.rows])
    shared: dict[str, Any] = {"epochs": 2, "lr": 1e-2}
    learner = Tuned(conv4(), "last(2)", **shared, **options)
    state = learner.adapt(episode.without_query())
    rows = sorted(range(6), key=lambda row: digest_array(episode.support[0, row]))
    support = TensorSource(episode.support[0, rows], episode.labels[0, rows], list("012"))
    tuned = fine_tune(conv4(), support, "last(2)", cache=False, progress=False, **shared, **options)
    assert torch.equal(state["weight"][0], tuned.head.weight) and sorted(state["network"]) == tuned.changed
    plain = Tuned(conv4(), "last(2)", **shared).adapt(episode.without_query())
    assert not torch.equal(state["weight"], plain["weight"])
    name, value = next(iter(options.items()))
    assert f"{name}={value!r}" in repr(learner)


def test_learners_of_other_weights_have_other_identities() -> None:
    from episodes.cell import learner_identity

    names = [learner_identity(Tuned(conv4(), spec))["identity"] for spec in ("last(1)", "last(1)", "last(2)")]
    assert names[0] == names[1] != names[2]
    other = conv4()
    with torch.no_grad():
        other.module.layers[0].weight.mul_(2)  # type: ignore[index, union-attr, operator]
    assert learner_identity(Tuned(other, "last(1)"))["identity"] != names[0]
    assert repr(load_learner("tuned(encoder='pixels', epochs=3)")) == "tuned(epochs=3)"

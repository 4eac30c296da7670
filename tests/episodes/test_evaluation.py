"""`evaluate`: paired scores of any learner, and strict about what it is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from episodes import Episode, EpisodeSampler, TensorSource, evaluate


def nearest_mean(episode: Episode) -> torch.Tensor:
    """An independent learner: a callable, nothing of fewshot."""
    means = torch.stack([episode.support[episode.labels == n].mean(0) for n in range(episode.way)])
    return -torch.cdist(episode.query[0], means)[None]


def test_scores_equal_a_plain_loop_in_numpy(source: TensorSource, sampler: EpisodeSampler) -> None:
    rows, drawn = source.features.numpy(), sampler.draw(0, 50)
    expected = []
    for e in range(50):
        support, labels = rows[drawn.support[e]], drawn.labels[e].numpy()
        means = np.stack([support[labels == n].mean(0) for n in range(5)])
        answers = ((rows[drawn.query[e]][:, None] - means) ** 2).sum(-1).argmin(1)
        expected.append((answers == drawn.targets[e].numpy()).mean())
    result = evaluate("prototypes", source, sampler, episodes=50)["prototypes"]
    np.testing.assert_array_equal(result.scores, expected)


def test_any_callable_is_a_learner(source: TensorSource, sampler: EpisodeSampler) -> None:
    results = evaluate({"loop": nearest_mean, "batched": "prototypes"}, source, sampler, episodes=30, chunk=1)
    np.testing.assert_array_equal(results["loop"].scores, results["batched"].scores)


def test_sampler_of_another_dataset(source: TensorSource, sampler: EpisodeSampler) -> None:
    other = source.select(torch.arange(300))
    with pytest.raises(ValueError, match="made for 320 labels, but 'gaussians' has 300 rows"):
        evaluate("prototypes", other, sampler)


def test_features_learner_refuses_images(sampler: EpisodeSampler) -> None:
    images = TensorSource(torch.zeros(320, 1, 4, 4), torch.arange(8).repeat_interleave(40), name="pictures")
    with pytest.raises(ValueError, match=r"learns from features, but 'pictures' holds images; embed them first"):
        evaluate("prototypes", images, sampler)


@pytest.mark.parametrize(
    ("learners", "message"),
    [
        ("prototipes", "did you mean 'prototypes'"),
        ([], "no learners"),
        (["prototypes"] * 2, "two learners are called"),
    ],
)
def test_bad_learners(source, sampler, learners, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        evaluate(learners, source, sampler)


def test_zero_episodes(source: TensorSource, sampler: EpisodeSampler) -> None:
    with pytest.raises(ValueError, match="episodes=0; it must be at least 1"):
        evaluate("prototypes", source, sampler, episodes=0)


def test_rows_edited_in_place_are_evaluated_again(source, sampler, tmp_path) -> None:  # type: ignore[no-untyped-def]
    rows = source.features.clone()
    mine = TensorSource(rows, source.labels)
    prints = [mine.fingerprint()]
    rows.data[0] += 1
    prints.append(mine.fingerprint())
    rows.numpy()[1] += 1
    prints.append(mine.fingerprint())
    with torch.inference_mode():
        mine.features = rows + 1
    prints.append(mine.fingerprint())
    assert len(set(prints)) == 4

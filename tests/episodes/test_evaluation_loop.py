"""The loop over episodes: the same scores in any chunks, bounded memory, and no look at query labels."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from episodes import Episode, EpisodeSampler, TensorSource, evaluate


@pytest.mark.parametrize("chunk", [1, 7, 64, None])
def test_scores_do_not_depend_on_the_chunk(source: TensorSource, sampler: EpisodeSampler, chunk: int) -> None:
    whole = evaluate("prototypes", source, sampler, episodes=1100, chunk=1024)["prototypes"]
    parts = evaluate("prototypes", source, sampler, episodes=1100, chunk=chunk)["prototypes"]
    np.testing.assert_array_equal(whole.scores, parts.scores)


def test_every_part_of_a_learner_is_left_in_its_own_mode(source: TensorSource, sampler: EpisodeSampler) -> None:
    seen: list[list[bool]] = []

    class Partly(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen, self.learning = torch.nn.Dropout().eval(), torch.nn.Dropout()

        def forward(self, episode: Episode) -> torch.Tensor:
            seen.append([part.training for part in self.modules()])
            return episode.query[..., : episode.way]

    learner = Partly()
    evaluate({"partly": learner}, source, sampler, episodes=4)
    assert not any(any(modes) for modes in seen)
    assert [part.training for part in learner.modules()] == [True, False, True]


def test_half_precision_rows_are_computed_in_float32(source: TensorSource, sampler: EpisodeSampler) -> None:
    seen = []

    def spy(episode: Episode) -> torch.Tensor:
        seen.append(episode.support.dtype)
        return torch.zeros(len(episode), episode.query.shape[1], episode.way)

    half = TensorSource(source.features.half(), source.labels)
    evaluate({"spy": spy}, half, sampler, episodes=2)
    assert set(seen) == {torch.float32}


def test_no_learner_sees_the_query_labels(source: TensorSource, sampler: EpisodeSampler) -> None:
    fields = set()

    def spy(episode: Episode) -> torch.Tensor:
        fields.update(vars(episode))
        return torch.zeros(len(episode), episode.query.shape[1], episode.way)

    evaluate({"spy": spy}, source, sampler, episodes=2)
    assert fields == {"support", "labels", "query", "way", "text", "ids", "unlabelled", "weights"}


def test_padding_in_the_query_labels_is_not_scored(source: TensorSource, sampler: EpisodeSampler) -> None:
    class Padded:
        way, rows = sampler.way, sampler.rows

        def draw(self, first: int, count: int):  # type: ignore[no-untyped-def]
            from dataclasses import replace

            drawn = sampler.draw(first, count)
            targets = drawn.targets.clone()
            targets[:, 10:] = -1
            return replace(drawn, targets=targets)

        def recipe(self) -> dict[str, object]:
            return {**sampler.recipe(), "sampler": "padded"}

    # The learner is not even shown it.
    first = {"first": lambda e: torch.nn.functional.one_hot(torch.zeros(len(e), 10).long(), 5).float()}
    result = evaluate(first, source, Padded(), episodes=5)["first"]
    assert result.query_count == 10
    np.testing.assert_allclose(result.scores, 6 / 10)


def test_text_is_gathered_by_class(source: TensorSource, sampler: EpisodeSampler) -> None:
    text = torch.arange(8.0)[:, None].expand(8, 16)

    def by_text(episode: Episode) -> torch.Tensor:
        assert episode.text is not None
        assert episode.text.shape == (len(episode), 5, 16)
        expected = sampler.draw(int(episode.ids[0]), len(episode)).classes.float()
        assert torch.equal(episode.text[..., 0], expected)
        return torch.zeros(len(episode), episode.query.shape[1], 5)

    evaluate({"by text": by_text}, source, sampler, episodes=20, text=text)


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        (lambda e: torch.zeros(len(e), e.way, e.query.shape[1]), r"must be \[E, Q, N\] = \[10, 30, 5\]"),
        (lambda e: torch.full((len(e), 30, 5), float("nan")), r"NaN or no finite logit in episode 0"),
        (lambda e: torch.full((len(e), 30, 5), -torch.inf), r"no finite logit in episode 0"),
        (lambda e: e.support @ e.query, r"'mine' failed on Episode\(way=5"),
    ],
)
def test_bad_logits_are_named(source, sampler, learner, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((ValueError, RuntimeError), match=message):
        evaluate({"mine": learner}, source, sampler, episodes=10)


def test_the_number_of_the_bad_episode_is_right(source: TensorSource, sampler: EpisodeSampler) -> None:
    def fails_at_1500(episode: Episode) -> torch.Tensor:
        logits = torch.zeros(len(episode), episode.query.shape[1], episode.way)
        logits[episode.ids == 1500] = float("nan")
        return logits

    with pytest.raises(ValueError, match="episode 1500"):
        evaluate({"mine": fails_at_1500}, source, sampler, episodes=2000)


def test_memory_does_not_grow_with_the_number_of_episodes(source, sampler) -> None:  # type: ignore[no-untyped-def]
    def peak(episodes: int) -> int:
        tracemalloc.start()
        evaluate("prototypes", source, sampler, episodes=episodes, chunk=64)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1024)
    # NumPy's arrays (indices, scores) are traced; scores take 8 bytes an episode and everything else is constant.
    assert peak(10_240) - peak(2_048) < 8 * 8_192 + 100_000

"""`evaluate`: paired, chunk-invariant, resumable, bounded, and strict about what it is given."""

from __future__ import annotations

import functools
import json
import threading
import tracemalloc

import numpy as np
import pytest
import torch

from episodes import Episode, EpisodeSampler, Results, TensorSource, evaluate
from episodes.results_file import ResultsFile, read_lines


@pytest.fixture
def source(generator: torch.Generator) -> TensorSource:
    """Eight overlapping Gaussian classes."""
    centres = torch.randn(8, 16, generator=generator)
    rows = centres.repeat_interleave(40, 0) + 1.5 * torch.randn(320, 16, generator=generator)
    return TensorSource(rows, torch.arange(8).repeat_interleave(40), name="gaussians")


@pytest.fixture
def sampler(source: TensorSource) -> EpisodeSampler:
    return EpisodeSampler(source.labels, way=5, shot=2, query=6, seed=3, name=source.name)


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


# Errors


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


# Resuming


class Counting:
    """Nearest mean that counts the episodes it sees, and may be interrupted; what it counts is no part of what it is."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.log = threading.local()
        self.log.seen, self.log.stop_after = 0, stop_after

    @property
    def seen(self) -> int:
        return self.log.seen  # type: ignore[no-any-return]

    def __call__(self, episode: Episode) -> torch.Tensor:
        if self.log.seen >= self.log.stop_after:
            raise KeyboardInterrupt
        self.log.seen += len(episode)
        from fewshot import load_learner

        return load_learner("prototypes")(episode)


def test_finished_cells_are_not_computed_again(source, sampler, tmp_path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "runs.jsonl"
    first = evaluate({"c": Counting()}, source, sampler, episodes=100, out=out)
    again = Counting()
    second = evaluate({"c": again}, source, sampler, episodes=100, out=out)
    assert again.seen == 0
    np.testing.assert_array_equal(first["c"].scores, second["c"].scores)
    assert len(out.read_text().splitlines()) == 1
    fewer = evaluate({"c": again}, source, sampler, episodes=60, out=out)
    assert again.seen == 0
    np.testing.assert_array_equal(fewer["c"].scores, first["c"].scores[:60])


def test_a_longer_run_continues_a_shorter_one(source, sampler, tmp_path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "runs.jsonl"
    evaluate({"c": Counting()}, source, sampler, episodes=1500, out=out)
    more = Counting()
    longer = evaluate({"c": more}, source, sampler, episodes=2000, out=out)["c"]
    assert more.seen == 500
    np.testing.assert_array_equal(
        longer.scores, evaluate({"c": Counting()}, source, sampler, episodes=2000)["c"].scores
    )
    assert Results.load(out)["c"].episodes == 2000


def test_an_interrupted_run_goes_on_and_equals_an_uninterrupted_one(source, sampler, tmp_path) -> None:  # type: ignore[no-untyped-def]
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    evaluate({"c": Counting()}, source, sampler, episodes=3000, out=whole)
    with pytest.raises(KeyboardInterrupt):
        evaluate({"c": Counting(stop_after=1500)}, source, sampler, episodes=3000, out=broken)
    assert not broken.exists()
    rest = Counting()
    evaluate({"c": rest}, source, sampler, episodes=3000, out=broken)
    assert 0 < rest.seen < 3000
    a, b = (json.loads(path.read_text()) for path in (whole, broken))
    assert a.pop("seconds") >= 0
    assert b.pop("seconds") >= 0
    assert a == b
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_another_recipe_is_another_cell(source, sampler, tmp_path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "runs.jsonl"
    evaluate("prototypes", source, sampler, episodes=20, out=out)
    other = EpisodeSampler(source.labels, way=5, shot=2, query=6, seed=4)
    changed = TensorSource(source.features + 1, source.labels, name=source.name)
    evaluate("prototypes", source, other, episodes=20, out=out)
    evaluate("prototypes", changed, sampler, episodes=20, out=out)
    evaluate("prototypes(distance='cosine')", source, sampler, episodes=20, out=out)
    assert len(out.read_text().splitlines()) == 4


def test_a_foreign_file_is_refused(source, sampler, tmp_path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "runs.jsonl"
    out.write_text('{"accuracy": 0.5}\n')
    with pytest.raises(ValueError, match=r"line 1: not a result of this library"):
        evaluate("prototypes", source, sampler, episodes=5, out=out)
    out.write_text("hello\n")
    with pytest.raises(ValueError, match="line 1: not JSON"):
        evaluate("prototypes", source, sampler, episodes=5, out=out)


def test_a_torn_last_line_is_left_out_and_repaired(source, sampler, tmp_path, caplog) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "runs.jsonl"
    evaluate(["prototypes", "prototypes(scale=2.0)"], source, sampler, episodes=5, out=out)
    text = out.read_text()
    out.write_text(text[: len(text) - 100])
    evaluate(["prototypes", "prototypes(scale=2.0)"], source, sampler, episodes=5, out=out)
    assert "incomplete" in caplog.text
    assert set(Results.load(out)) == {"prototypes", "prototypes(scale=2.0)"}


def test_an_edited_recipe_is_left_out(source, sampler, tmp_path, caplog) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "runs.jsonl"
    evaluate("prototypes", source, sampler, episodes=5, out=out)
    out.write_text(out.read_text().replace('"shot": 2', '"shot": 3'))
    cells = ResultsFile(out)
    assert not list(read_lines(out))
    assert "line 1 is damaged or was edited" in caplog.text
    assert "of another recipe" in caplog.text or "not as it was written" in caplog.text
    assert cells.path == out


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


def signed(episode: Episode, sign: float) -> torch.Tensor:
    """Nearest mean, or with a negative sign the farthest one."""
    means = episode.one_hot.mT @ episode.support / episode.shots.unsqueeze(-1)  # [E, N, D]
    return -sign * torch.cdist(episode.query, means)


def test_results_are_found_again_only_for_what_behaves_the_same(source, sampler, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from sklearn.naive_bayes import GaussianNB

    from fewshot.learners import SklearnLearner

    out = tmp_path / "runs.jsonl"
    first, other = np.full(5, 0.2), np.array([0.96, 0.01, 0.01, 0.01, 0.01])
    learners = {
        "good": functools.partial(signed, sign=1.0),
        "bad": functools.partial(signed, sign=-1.0),
        "plus": lambda episode: signed(episode, 1.0), "minus": lambda episode: signed(episode, -1.0),
        "flat": SklearnLearner(GaussianNB(priors=first)), "steep": SklearnLearner(GaussianNB(priors=other)),
    }  # fmt: skip
    for _ in range(2):
        results = evaluate(learners, source, sampler, episodes=30, out=out)
        assert results["good"].mean > results["bad"].mean + 0.3
        assert results["plus"].mean > results["minus"].mean + 0.3
        assert (results["flat"].scores != results["steep"].scores).any()
    assert len(out.read_text().splitlines()) == len(learners)


def test_a_corrected_learner_is_computed_again(source, sampler, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from fewshot.learners import Prototypes

    def make(factor: float) -> type[Prototypes]:
        class Mine(Prototypes):
            name = "mine"

            def predict(self, state, query):  # type: ignore[no-untyped-def]
                return factor * super().predict(state, query)

        return Mine

    out = tmp_path / "runs.jsonl"
    wrong = evaluate({"mine": make(-1.0)()}, source, sampler, episodes=30, out=out)["mine"].mean
    right = evaluate({"mine": make(1.0)()}, source, sampler, episodes=30, out=out)["mine"].mean
    assert right > wrong + 0.3


def test_a_learner_of_unknown_identity_is_not_stored(source, sampler, tmp_path) -> None:  # type: ignore[no-untyped-def]
    stream = iter([1.0] * 10**6)
    learner = {"mine": lambda episode: signed(episode, next(stream))}
    assert evaluate(learner, source, sampler, episodes=30)["mine"].episodes == 30
    with pytest.raises(ValueError, match=r"'mine' cannot be stored in .*runs\.jsonl.*list_iterator.*Leave out="):
        evaluate(learner, source, sampler, episodes=30, out=tmp_path / "runs.jsonl")


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

"""`evaluate(out=)`: what is stored is continued, and served again only to what behaves the same."""

from __future__ import annotations

import functools
import json
import threading

import numpy as np
import pytest
import torch

from episodes import Episode, EpisodeSampler, Results, TensorSource, evaluate
from episodes.results_file import ResultsFile, read_lines


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

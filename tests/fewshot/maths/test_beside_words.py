"""Methods with class words beside their words and class means: against a slow reference, and where nothing speaks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.text as references
import torch
from learner_checks import WITH_TEXT
from learner_episodes import expected, padded, up_to_a_constant, with_text
from torch import Tensor
from torch.nn.functional import cosine_similarity

from episodes import Episode, Support
from fewshot import load_learner
from fewshot.learners import list_learners
from fewshot.maths import beside_words
from fewshot.maths.beside_words import BesideWords
from fewshot.maths.text_head import TextState, fitted_scale, read_text

METHODS: dict[str, Callable[..., Any]] = {
    "gda(": references.gda,
    "proker(scale=100.0, ": partial(references.proker, scale=100.0),
    "cross-modal(": references.cross_modal,
    "stata(": references.stata,
    "transclip(": references.transclip,
    "zlap(": references.zlap,
    "clap(steps=9, ": partial(references.descend, steps=9, rate=0.1, anchor=1.0),
    "taskres(steps=9, lr=0.02, scale=100.0, ": partial(references.descend, steps=9, rate=0.02, adam=True, reach=0.5),
    "zs-lp(steps=9, ": partial(references.descend, steps=9, rate=0.1),
    "lp++(steps=9, ": partial(references.lp_plus_plus, steps=9),
    "tip-adapter-f(": references.tip_adapter_f,
}
NAMES = [name for name in list_learners() if isinstance(load_learner(name), BesideWords)]


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(up_to_a_constant(found), up_to_a_constant(wanted), rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shots", WITH_TEXT, ids=str)
def test_equals_the_reference(method: str, shots: list[int]) -> None:
    episode = with_text(shots)
    scale = None if method == "zlap(" else 100.0  # its scale is none of cosines
    wanted = expected(partial(references.beside_words, METHODS[method], words=0.7, scale=scale), episode)
    close(load_learner(f"{method}words=0.7)")(padded(episode)), wanted)


@pytest.mark.parametrize("method", ["gda(", "stata("])
def test_of_many_rows_a_third_is_held_out(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside_words, "_MANY", 15)
    episode = with_text([4, 3, 5, 4])
    wanted = expected(partial(references.beside_words, METHODS[method], words=0.7, many=15), episode)
    close(load_learner(f"{method}words=0.7)")(padded(episode)), wanted)


def test_words_have_the_scale_of_the_method() -> None:
    episode = with_text([4, 3, 5, 4])
    reference = partial(references.beside_words, partial(references.gda, scale=20.0), words=0.7, scale=20.0)
    close(load_learner("gda(scale=20.0, words=0.7)")(padded(episode)), expected(reference, episode))


def test_every_learner_with_words_and_support_is_one() -> None:
    both = {name for name in list_learners() if {"support", "text"} <= set(load_learner(name).needs)}
    assert both - set(NAMES) == {"tip-adapter"}


@pytest.mark.parametrize("name", NAMES)
def test_without_support_it_is_the_method(name: str) -> None:
    episode = with_text([2, 2, 2])
    empty = episode.replace(support=episode.support[:, :0], labels=episode.labels[:, :0])
    close(load_learner(name)(empty), load_learner(f"{name}(words=0.0)")(empty))


@pytest.mark.parametrize("name", NAMES)
def test_at_one_row_a_class_it_is_a_mean_with_the_words(name: str) -> None:
    episode = with_text([1, 1, 1])
    assert episode.text is not None
    words = cosine_similarity(episode.query.unsqueeze(2), episode.text.unsqueeze(1), dim=-1)
    learner = load_learner(name)
    numbered = learner.scale_is_of_cosines and learner.scale != "auto"
    words = words * (learner.scale if numbered else fitted_scale(read_text(episode)))
    alone = load_learner(f"{name}(words=0.0)")(episode)
    close(learner(episode), (alone + learner.words * words) / (1 + learner.words))


@pytest.mark.parametrize("name", NAMES)
def test_bad_weights_are_refused(name: str) -> None:
    kind: Callable[..., Any] = type(load_learner(name))
    for words in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="at least 0 and finite"):
            kind(words=words)


class Wrong(BesideWords):
    """Answers the class after the one whose words are nearest, and counts the queries it is asked together."""

    name = "wrong"
    needs = ("support", "text")
    transductive = True

    def __init__(self, words: float = 1.0) -> None:
        super().__init__()
        self.words = words
        self.asked: list[int] = []

    def adapt_alone(self, support: Support) -> TextState:
        return read_text(support)

    def predict_alone(self, state: TextState, query: Tensor) -> Tensor:
        self.asked.append(query.shape[1])
        return (30 * query @ state.text.mT).roll(1, -1)


def test_a_method_that_is_always_wrong_is_not_asked() -> None:
    episode = with_text([9, 9, 9])
    learner = Wrong()
    assert (learner.adapt(episode).share < 0.05).all()
    right = torch.arange(3).repeat_interleave(5)
    best = (load_learner("zero-shot")(episode).argmax(-1) == right).double().mean()
    assert (learner(episode).argmax(-1) == right).double().mean() >= best - 0.02


def test_rows_that_are_held_out_are_asked_without_others() -> None:
    """Episodes with fewer rows are not filled up with rows that the method has seen."""
    episode = with_text([4, 4, 4])
    labels = episode.labels.clone()
    for row in (labels[0] == 1).nonzero()[1:, 0]:
        labels[0, row] = -1  # the first episode keeps one row of a class
    learner = Wrong()
    learner.adapt(episode.replace(labels=labels))
    assert sorted(set(learner.asked)) == [2, 3]


def test_of_thousands_of_logits_few_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside_words, "_ASKED", 9)  # one row of a class, of three classes
    learner = Wrong()
    learner.adapt(with_text([9, 9, 9]))
    assert learner.asked == [3, 3, 3, 3]


def test_the_order_of_rows_does_not_matter_where_few_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside_words, "_ASKED", 9)
    episode = with_text([9, 8, 7])
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    other: Episode = episode.replace(support=episode.support[:, order], labels=episode.labels[:, order])
    torch.testing.assert_close(load_learner("gda")(other), load_learner("gda")(episode))

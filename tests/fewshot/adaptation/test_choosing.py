"""Scores of adapters that need no target label, and when none is chosen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from episodes import Episode, Support
from fewshot import Learner, load_learner
from fewshot.adaptation import (
    AdaptationWarning,
    choose_adapter,
    importance_validation,
    information,
    reverse_validation,
)
from fewshot.adaptation.importance import importance


def shifted(by: float, e: int = 12) -> Episode:
    g = torch.Generator().manual_seed(0)
    means = 2 * torch.randn(e, 4, 6, generator=g)
    labels = torch.arange(40) % 4
    support = means[:, labels] + torch.randn(e, 40, 6, generator=g)
    target = means[:, labels] + torch.randn(e, 40, 6, generator=g)
    target[..., 0] += by
    return Episode(support, labels.expand(e, 40), target, way=4)


def test_a_shift_is_found() -> None:
    choice = choose_adapter(["domain-centre", "pseudo-labels"], "logistic", shifted(10.0))
    assert choice.adapter == "domain-centre"
    assert choice.scores["domain-centre"] > choice.scores["nothing"] + 0.1
    assert "use domain-centre" in str(choice)


@pytest.mark.parametrize("score", ["reverse", "information", "importance"])
def test_without_a_shift_nothing_is_used_and_harm_is_said(score: str) -> None:
    with pytest.warns(
        AdaptationWarning, match=r"subspace-alignment\(dim=1\) would do harm \(-0\.\d+ against nothing\)"
    ):
        choice = choose_adapter(["domain-centre", "subspace-alignment(dim=1)"], "logistic", shifted(0.0), score=score)
    assert choice.adapter == "nothing" and "do not adapt" in str(choice) and "would do harm" in str(choice)
    assert choice.harmful == ("subspace-alignment(dim=1)",)


def test_importance_validation_by_hand() -> None:
    """Each held-out row by the learner of the others, weighted by a domain classifier that did not see it."""
    episode = shifted(1.0, e=2)
    learner = load_learner("nearest")
    found = importance_validation(learner, episode)
    weights = importance(episode.without_query(), episode.query)
    for e in range(2):
        xs, ys = episode.support[e], episode.labels[e]
        total = right = 0.0
        for i in range(40):
            fold = (i // 4) % 5  # rows of a class are four apart
            others = torch.tensor([j for j in range(40) if (j // 4) % 5 != fold])
            guess = ys[others][torch.cdist(xs[i : i + 1], xs[others]).argmin()]
            total += float(weights[e, i])
            right += float(weights[e, i]) * (guess == ys[i]).item()
        assert float(found[e]) == pytest.approx(right / total, rel=1e-5)


def test_weights_are_those_of_two_gaussians() -> None:
    """x ~ N(0, 1) and N(1, 1): the ratio is ``exp(x - 1/2)``."""
    g = torch.Generator().manual_seed(0)
    rows, target = torch.randn(1, 2000, 1, generator=g), 1 + torch.randn(1, 2000, 1, generator=g)
    found = importance(Support(rows, torch.zeros(1, 2000, dtype=torch.long), way=1), target)[0]
    wanted = (rows[0, :, 0] - 0.5).exp()
    middle = (rows[0, :, 0] > -2) & (rows[0, :, 0] < 2)
    assert float((found / found.mean() / (wanted / wanted.mean()))[middle].log().abs().mean()) < 0.1


def test_under_covariate_shift_the_weights_find_the_target_accuracy() -> None:
    """Right for x < 0 alone, where the source is and the target is not."""

    class Half(Fixed):
        def predict(self, state: Tensor, query: Tensor) -> Tensor:
            right = (query[..., 0] < 0).float()
            return torch.stack([right, 1 - right], -1)

    g = torch.Generator().manual_seed(0)
    rows, target = torch.randn(1, 1000, 1, generator=g) - 0.5, torch.randn(1, 1000, 1, generator=g) + 0.5
    episode = Episode(rows, torch.zeros(1, 1000, dtype=torch.long), target, way=2)
    plain = float((rows < 0).double().mean())
    actual = float((target < 0).double().mean())
    found = float(importance_validation(Half(torch.zeros(1)), episode))
    assert abs(found - actual) < 0.08 < plain - actual


def test_importance_needs_two_folds() -> None:
    with pytest.raises(ValueError, match="folds=1"):
        importance_validation(load_learner("nearest"), shifted(0.0, e=1), folds=1)


def test_reverse_validation_by_hand() -> None:
    episode = shifted(1.0, e=2)
    learner = load_learner("nearest")
    found = reverse_validation(learner, episode)
    for e in range(2):
        xs, xt, ys = episode.support[e], episode.query[e], episode.labels[e]
        guesses = ys[torch.cdist(xt, xs).argmin(1)]
        back = guesses[torch.cdist(xs, xt).argmin(1)]
        assert float(found[e]) == pytest.approx(float((back == ys).double().mean()))


class Fixed(Learner):
    """Answers given logits."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def adapt(self, episode: Episode) -> Tensor:
        return episode.support

    def predict(self, state: Tensor, query: Tensor) -> Tensor:
        return self.logits.expand(len(query), *self.logits.shape)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [(99 * torch.eye(4).repeat(10, 1), 1.0), (torch.zeros(40, 4), 0.0), (torch.tensor([[99.0, 0, 0, 0]]).repeat(40, 1), 0.0)],
)  # fmt: skip
def test_sure_and_varied_answers_hold_information(logits: Tensor, expected: float) -> None:
    assert information(Fixed(logits), shifted(0.0, e=1)).tolist() == pytest.approx([expected], abs=1e-6)


def test_two_classes_hold_information_up_to_one_as_well() -> None:
    labels = torch.arange(40) % 2
    episode = Episode(torch.randn(1, 40, 3), labels.expand(1, 40), torch.randn(1, 40, 3), way=2)
    assert information(Fixed(99 * torch.eye(2)[labels]), episode).tolist() == pytest.approx([1.0], abs=1e-6)


def test_target_labels_cannot_be_reached() -> None:
    """The choice is a function of rows and source labels: there is no argument that could hold target labels."""
    episode = shifted(3.0, e=2)
    given = episode.replace(unlabelled=episode.query, query=torch.zeros_like(episode.query))
    assert choose_adapter(["coral"], "logistic", given) == choose_adapter(["coral"], "logistic", episode)


def test_bad_score() -> None:
    with pytest.raises(ValueError, match="score='accuracy'; it must be one of reverse, information, importance"):
        choose_adapter([], "logistic", shifted(0.0), score="accuracy")

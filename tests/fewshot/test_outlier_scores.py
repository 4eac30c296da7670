"""Outlier scores: open-set queries are separated from the others by every inductive learner about as well as by distance."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize

from episodes import Episode
from episodes.outliers import log_odds_against_best, outlier_scores
from fewshot import load_learner

EPISODES, WAY, SHOT, EACH, DIM = 12, 5, 5, 8, 32
LEARNERS = ["prototypes(distance='cosine')", "nearest", "nearest(k=3)", "matching", "lda", "lda(prior='empirical')",
            "l2 | lda", "cl2n | lda", "mahalanobis", "subspace", "ridge", "l2 | ridge(alpha=0.1)", "logistic",
            "l2 | logistic(C=10.0)", "fine-tune", "baseline++", "simpleshot", "r2d2", "scaled-prototypes", "soft-kmeans(queries=False)",
            "metaoptnet", "svm", "sklearn", "distribution-calibration", "fine-tune(head='squared')",
            "fine-tune(head='cosine')", "fine-tune(head='euclidean')"]  # fmt: skip


def auroc(scores: Tensor, known: Tensor) -> float:
    """Mean over episodes, in percent."""
    pairs = zip(known, scores, strict=True)
    return 100 * sum(float(roc_auc_score(~k.numpy(), s.numpy())) for k, s in pairs) / len(scores)


def open_set(shot: int = SHOT) -> tuple[Episode, Tensor]:
    """Episodes whose last queries are of other classes, and which are of the episode's ``[E, Q]``."""
    random = torch.Generator().manual_seed(0)
    centres = 0.8 * torch.randn(EPISODES, 2 * WAY, DIM, generator=random)

    def rows(labels: Tensor) -> Tensor:
        noise = torch.randn(EPISODES, len(labels), DIM, generator=random)
        return normalize(centres[:, labels] + noise + 1.0, dim=-1)

    labels = torch.arange(WAY).repeat_interleave(shot)
    asked = torch.arange(2 * WAY).repeat_interleave(EACH)
    episode = Episode(rows(labels), labels.expand(EPISODES, -1), rows(asked), way=WAY, ids=torch.arange(EPISODES))
    return episode, (asked < WAY).expand(EPISODES, -1)


def measured(spec: str, shot: int = SHOT) -> float:
    episode, known = open_set(shot)
    learner = load_learner(spec)
    with torch.no_grad():
        scores = outlier_scores(learner, episode, learner(episode))
    return auroc(scores, known)


@pytest.mark.parametrize("shot", [1, SHOT])
@pytest.mark.parametrize("spec", LEARNERS)
def test_open_queries_score_higher(spec: str, shot: int) -> None:
    """Within two points of the distance to the nearest class mean behind the same transforms."""
    front = "".join(spec.rpartition(" | ")[:2])
    assert measured(spec, shot) > measured(f"{front}prototypes", shot) - 2


def test_scores_do_not_saturate() -> None:
    logits = torch.tensor([[[500.0, 0.0, 1.0], [400.0, 0.0, 1.0], [1.0, 0.0, 1.0]]])
    assert (logits.softmax(-1)[0, :2].amax(-1) == 1).all()
    scores = log_odds_against_best(logits)[0]
    assert scores[0] < scores[1] < scores[2]
    p = logits[0, 2].softmax(-1).max()
    torch.testing.assert_close(scores[2], ((1 - p) / p).log())


def test_a_learner_without_scores_of_its_own_is_scored_alike() -> None:
    episode, _ = open_set()
    learner = load_learner("label-propagation")
    logits = learner(episode)
    assert torch.equal(outlier_scores(lambda _: logits, episode, logits), outlier_scores(learner, episode, logits))


@pytest.mark.parametrize("spec", ["nearest", "nearest(distance='cosine')"])
def test_nearest_asks_rows_moved_half_way_to_their_class(spec: str) -> None:
    episode, _ = open_set()
    found = load_learner(spec).outlier_score(episode, torch.zeros(0))
    support, query = (
        normalize(part, dim=-1) if "cosine" in spec else part for part in (episode.support, episode.query)
    )
    for e in range(2):
        rows = support[e].clone()
        for n in range(WAY):
            mine = episode.labels[e] == n
            rows[mine] = (rows[mine] + support[e, mine].mean(0)) / 2
        torch.testing.assert_close(found[e], torch.cdist(query[e], rows).square().amin(-1), rtol=1e-4, atol=1e-5)


def test_one_possible_class_says_nothing() -> None:
    assert log_odds_against_best(torch.tensor([[[3.0, -torch.inf], [9.0, -torch.inf]]])).tolist() == [[0.0, 0.0]]


def test_distances_do_not_depend_on_an_offset() -> None:
    episode, known = open_set()
    far = episode.replace(support=episode.support + 3e3, query=episode.query + 3e3)
    for spec in ("prototypes", "lda", "mahalanobis"):
        learner = load_learner(spec)
        scores = outlier_scores(learner, far, learner(far))
        assert abs(auroc(scores, known) - measured(spec)) < 0.1

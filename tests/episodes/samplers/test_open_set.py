"""Queries of classes that have no examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sampler_examples import LABELS

from episodes import EpisodeSampler, OpenSetSampler, TensorSource, evaluate
from episodes.draw import OPEN


class TestOpenSet:
    def test_open_queries_are_of_other_classes(self) -> None:
        sampler = OpenSetSampler(LABELS, 4, 1, 5, seed=2)
        drawn = sampler.draw(0, 300)
        strange = torch.from_numpy(LABELS)[drawn.query[:, 20:]]  # [E, 20]
        assert (drawn.targets[:, 20:] == OPEN).all() and (drawn.targets[:, :20] >= 0).all()
        assert not (strange.unsqueeze(2) == drawn.classes.unsqueeze(1)).any()
        assert len(strange.unique()) == 12
        fixed = EpisodeSampler(LABELS, 4, 1, 5, seed=2).draw(0, 300)
        assert torch.equal(drawn.support, fixed.support) and torch.equal(drawn.query[:, :20], fixed.query)

    def test_too_many_classes(self) -> None:
        with pytest.raises(ValueError, match="open_way=9, but 'the dataset' has 12 classes"):
            OpenSetSampler(LABELS, 4, 1, 5, open_way=9)

    def test_marks_equal_scikit_learn(self) -> None:
        from sklearn.metrics import roc_auc_score

        generator = torch.Generator().manual_seed(0)
        features = 2 * torch.randn(12, 6, generator=generator)[torch.from_numpy(LABELS)]
        source = TensorSource(features + torch.randn(len(LABELS), 6, generator=generator), torch.from_numpy(LABELS))
        sampler = OpenSetSampler(LABELS, 4, 5, 10)
        found = {
            metric: evaluate("prototypes", source, sampler, episodes=30, metric=metric, progress=False)["prototypes"]
            for metric in ("accuracy", "auroc", "fpr95")
        }
        assert len({result.key for result in found.values()}) == 3
        drawn = sampler.draw(0, 30)
        for e in range(30):
            rows = source[drawn.query[e]]
            centres = torch.stack([source[drawn.support[e]][drawn.labels[e] == n].mean(0) for n in range(4)])
            far = torch.cdist(rows.double(), centres.double()).square().min(1).values
            strange = drawn.targets[e] == OPEN
            assert found["auroc"].scores[e] == pytest.approx(roc_auc_score(strange, far), abs=1e-6)
            threshold = np.sort(far[~strange].numpy())[int(np.ceil(0.95 * 40)) - 1]
            expected = (far[strange].numpy() <= threshold).mean()
            assert found["fpr95"].scores[e] == pytest.approx(expected, abs=1e-9)
        assert found["auroc"].mean > 0.8

    def test_any_callable_is_marked_by_its_largest_probability(self) -> None:
        source = TensorSource(torch.eye(12)[torch.from_numpy(LABELS)], torch.from_numpy(LABELS))

        def learner(episode: Any) -> torch.Tensor:
            return episode.query @ (episode.one_hot.mT @ episode.support).mT

        sampler = OpenSetSampler(LABELS, 4, 1, 10)
        assert (
            evaluate({"mine": learner}, source, sampler, episodes=5, metric="auroc", progress=False)["mine"].mean == 1
        )
        with pytest.raises(ValueError, match="draws none; take OpenSetSampler"):
            evaluate({"mine": learner}, source, EpisodeSampler(LABELS), episodes=5, metric="auroc")
        with pytest.raises(ValueError, match="must be one of accuracy, auroc, fpr95"):
            evaluate({"mine": learner}, source, sampler, episodes=5, metric="f1")

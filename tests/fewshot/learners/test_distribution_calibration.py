"""Distribution calibration: the paper's statistics, and what is fitted to base rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learner_episodes import make
from sklearn.linear_model import LogisticRegression

from episodes import EpisodeSampler, TensorSource, compare, evaluate
from fewshot import load_learner
from fewshot.learners import DistributionCalibration


def base(classes: int = 6, rows: int = 30, dim: int = 4) -> TensorSource:
    generator = torch.Generator().manual_seed(3)
    centres = 2 * torch.randn(classes, dim, generator=generator)
    mixing = torch.randn(classes, dim, dim, generator=generator)
    noise = torch.randn(classes, rows, dim, generator=generator) @ mixing
    labels = torch.arange(classes).repeat_interleave(rows)
    return TensorSource((centres[:, None] + noise).flatten(0, 1), labels)


def test_calibrated_draws_have_the_papers_mean_and_covariance() -> None:
    source, n, alpha = base(), 2, 0.3
    learner = DistributionCalibration(neighbours=n, alpha=alpha, samples=200_000, power=1.0).fit(source)
    x = torch.tensor([[[0.5, -1.0, 0.2, 0.7]]])
    drawn = learner._draws(x, 200_000)[0, 0].double().numpy()
    rows, labels = source.features.double().numpy(), source.labels.numpy()
    means = np.stack([rows[labels == c].mean(0) for c in range(6)])
    near = np.argsort(((means - x.numpy()[0, 0]) ** 2).sum(1))[:n]
    mean = (x.numpy()[0, 0] + means[near].sum(0)) / (n + 1)
    covariance = np.mean([np.cov(rows[labels == c].T) for c in near], 0) + alpha
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.05 * np.abs(covariance).max())


def test_calibration_fits_the_regression_to_support_and_draws() -> None:
    learner = DistributionCalibration(neighbours=2, samples=40, C=0.7).fit(base())
    episode = make([2, 1, 3], dim=4, episodes=3)[0]
    logits = learner(episode)
    for e, one in enumerate(episode):
        known = one.labels[0] >= 0
        support = learner._transform(one.support)
        rows = torch.cat([support.unsqueeze(2), learner._draws(support, 40)], 2)[0, known]
        y = one.labels[0, known].repeat_interleave(41).numpy()
        peer = LogisticRegression(C=0.7, tol=1e-9, max_iter=5000).fit(rows.flatten(0, 1).double().numpy(), y)
        wanted = peer.predict_log_proba(learner._transform(one.query[0]).double().numpy())
        torch.testing.assert_close(logits[e].log_softmax(-1).double(), torch.from_numpy(wanted), atol=1e-3, rtol=1e-3)


def test_calibration_helps_one_shot_where_classes_spread_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    stretch = torch.linspace(3.0, 0.2, 12)

    def world(classes: int, seed: int) -> TensorSource:  # fmt: skip
        generator.manual_seed(seed)
        centres = torch.randn(classes, 12, generator=generator)
        rows = centres[:, None] + stretch * torch.randn(classes, 60, 12, generator=generator)
        return TensorSource(rows.flatten(0, 1), torch.arange(classes).repeat_interleave(60))

    novel = world(8, 1)  # fmt: skip
    learners = {
        "calibrated": DistributionCalibration(samples=100, power=1.0).fit(world(20, 2)),
        "plain": load_learner("logistic"),
    }
    results = evaluate(learners, novel, EpisodeSampler(novel.labels, 5, 1, 10), episodes=150, progress=False)
    found = compare(results["calibrated"], results["plain"])
    assert found.difference > 0 and found.p_value < 0.01


def test_calibration_refuses_base_rows_without_classes() -> None:
    with pytest.raises(ValueError, match="fit a source"):
        load_learner("l2 | distribution-calibration").fit(torch.randn(9, 4))
    with pytest.raises(ValueError, match="neighbours=0"):
        DistributionCalibration(neighbours=0)


def test_a_chain_fits_its_learner_to_transformed_base_rows() -> None:
    source = base()
    chain = load_learner("l2 | distribution-calibration(samples=5)").fit(source)
    alone = DistributionCalibration(samples=5)
    alone.fit(TensorSource(torch.nn.functional.normalize(source.features, dim=-1), source.labels))
    torch.testing.assert_close(chain.learner.means, alone.means)

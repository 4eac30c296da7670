"""Distribution calibration: the paper's statistics, and what is fitted to base rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learner_episodes import make
from scipy.stats import skew
from sklearn.linear_model import LogisticRegression

from episodes import EpisodeSampler, TensorSource, compare, evaluate
from fewshot import load_learner
from fewshot.learners import DistributionCalibration
from fewshot.maths.skewness import signed_power, skewness, skewness_added


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
    learner = DistributionCalibration(neighbours=2, samples=40, power=0.5, C=0.7).fit(base())
    episode = make([2, 1, 3], dim=4, episodes=3)[0]
    logits = learner(episode)
    for e, one in enumerate(episode):
        known = one.labels[0] >= 0
        support = one.support.sign() * one.support.abs().sqrt()
        rows = torch.cat([support.unsqueeze(2), learner._draws(support, 40)], 2)[0, known]
        y = one.labels[0, known].repeat_interleave(41).numpy()
        peer = LogisticRegression(C=0.7, tol=1e-9, max_iter=5000).fit(rows.flatten(0, 1).double().numpy(), y)
        wanted = peer.predict_log_proba((one.query[0].sign() * one.query[0].abs().sqrt()).double().numpy())
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
    with pytest.raises(ValueError, match="power=0"):
        DistributionCalibration(power=0)


def test_a_chain_fits_its_learner_to_transformed_base_rows() -> None:
    source = base()
    chain = load_learner("l2 | distribution-calibration(samples=5)").fit(source)
    alone = DistributionCalibration(samples=5)
    alone.fit(TensorSource(torch.nn.functional.normalize(source.features, dim=-1), source.labels))
    torch.testing.assert_close(chain.learner.means, alone.means)


def drawings(rows: int, seed: int) -> torch.Tensor:
    """Values of which most are 1 and few near to 0, as pixels of pen on paper are ``[rows, 40]``."""
    generator = torch.Generator().manual_seed(seed)
    return 1 - torch.rand(rows, 40, generator=generator).pow(8)


def test_skewness_is_that_of_scipy_over_all_values_that_are_known() -> None:
    rows = torch.stack([drawings(6, 0), torch.randn(6, 40, generator=torch.Generator().manual_seed(1)).exp()])
    known = torch.tensor([[True] * 6, [True, False, True, True, False, False]])
    rows[~known] = torch.nan
    wanted = [skew(part[mask].double().numpy(), axis=None) for part, mask in zip(rows, known, strict=True)]
    np.testing.assert_allclose(skewness(rows, known).numpy(), wanted, rtol=1e-10)
    rooted = [skew(np.sqrt(part[mask].double().numpy()), axis=None) for part, mask in zip(rows, known, strict=True)]
    found = skewness_added(rows, 0.5, known).numpy()
    np.testing.assert_allclose(found, np.abs(rooted) - np.abs(wanted), atol=1e-5)
    assert found[0] > 0.25 > 0 > found[1]
    torch.testing.assert_close(skewness(torch.full((1, 3, 4), 0.1), torch.ones(1, 3, dtype=torch.bool)).abs() % 1,
                               torch.zeros(1, dtype=torch.float64))  # fmt: skip


def test_only_rows_that_the_power_makes_less_symmetric_stay_as_they_come() -> None:
    episode = make([3, 3], dim=40, episodes=2)[0]
    support, query = episode.support.clone(), episode.query.clone()
    support[0], query[0] = drawings(support.shape[1], 2), drawings(query.shape[1], 3)
    support[1], query[1] = support[1].exp(), query[1].exp()
    episode = episode.replace(support=support, query=query)
    found = load_learner("distribution-calibration")(episode)
    for e, power in enumerate((1.0, 0.5)):
        wanted = DistributionCalibration(power=power)(episode[e : e + 1])
        torch.testing.assert_close(found[e : e + 1], wanted)
        other = DistributionCalibration(power=1.5 - power)(episode[e : e + 1])
        assert not torch.allclose(found[e : e + 1], other, atol=1e-2)


def test_base_classes_decide_whether_rows_stay_as_they_come() -> None:
    labels = torch.arange(4).repeat_interleave(10)
    paper = TensorSource(drawings(40, 4), labels)
    episode = make([3, 3], dim=40, episodes=2)[0]
    episode = episode.replace(support=episode.support.exp(), query=episode.query.exp())
    learner = DistributionCalibration().fit(paper)
    torch.testing.assert_close(learner(episode), DistributionCalibration(power=1.0).fit(paper)(episode))
    restored = DistributionCalibration()
    restored.load_state_dict(learner.state_dict())
    torch.testing.assert_close(restored(episode), learner(episode))
    rectified = TensorSource((1 - drawings(40, 4)), labels)
    torch.testing.assert_close(
        DistributionCalibration().fit(rectified)(episode), DistributionCalibration(power=0.5).fit(rectified)(episode)
    )


def test_symmetric_rows_take_the_papers_power_whatever_chance_adds() -> None:
    rows = torch.randn(200, 5, 32, generator=torch.Generator().manual_seed(5))
    assert (skewness_added(rows, 0.5) < 0.25).all()
    torch.testing.assert_close(signed_power(torch.tensor([4.0, -9.0, 0.0]), 0.5), torch.tensor([2.0, -3.0, 0.0]))


def test_the_draws_of_a_row_count_as_one_row_of_logistic_regression() -> None:
    episode = make([4, 3, 5], dim=6, episodes=2)[0]
    learner = DistributionCalibration(alpha=0.0, samples=7, power=1.0)
    found, wanted = learner(episode), load_learner("logistic")(episode)
    torch.testing.assert_close(found.log_softmax(-1), wanted.log_softmax(-1), atol=2e-3, rtol=1e-3)

"""Statistics of the support, and those of base data that replace them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from episodes import Episode, TensorSource
from fewshot import load_learner
from fewshot.transforms import Pipeline, Transform, load_transform

FITTED = ["centre", "cl2n", "standardise", "whiten"]


def apply(transform: Transform, episode: Episode) -> np.ndarray:
    return transform(episode.query, transform.adapt(episode)).numpy()


def test_centre_uses_the_support_and_no_padding(episode: Episode) -> None:
    for name in ("centre", "cl2n"):
        transform = load_transform(name)
        for e in range(4):
            mean = episode.support[e][episode.labels[e] >= 0].mean(0)
            expected = episode.query[e] - mean
            expected = torch.nn.functional.normalize(expected, dim=-1) if name == "cl2n" else expected
            np.testing.assert_allclose(apply(transform, episode)[e], expected, rtol=1e-5, atol=1e-6)


def test_standardise_uses_the_support_and_leaves_a_constant_feature(episode: Episode) -> None:
    support = episode.support.clone()
    support[..., 2] = 1234.56  # whose mean over six rows is not the number itself
    given = episode.replace(support=support, text=None, unlabelled=None)
    for e in range(4):
        rows = support[e][episode.labels[e] >= 0].double()
        std = rows.std(0, correction=0)
        std[2] = 1
        expected = (episode.query[e] - rows.mean(0)) / std
        np.testing.assert_allclose(apply(load_transform("standardise"), given)[e], expected, rtol=1e-4, atol=1e-4)
    scaled = given.replace(support=support * 1000, query=given.query * 1000)
    chain = load_learner("standardise | prototypes")
    torch.testing.assert_close(chain(scaled), chain(given), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("as_source", [False, True])
def test_base_statistics_replace_those_of_the_support(base: Tensor, episode: Episode, as_source: bool) -> None:
    given = TensorSource(base, torch.zeros(len(base), dtype=torch.int64)) if as_source else base
    rows = base.double().numpy()
    query = episode.query.double().numpy() - rows.mean(0)
    np.testing.assert_allclose(apply(load_transform("centre").fit(given), episode), query, atol=1e-5)
    unit = query / np.linalg.norm(query, axis=-1, keepdims=True)
    np.testing.assert_allclose(apply(load_transform("cl2n").fit(given), episode), unit, atol=1e-5)
    np.testing.assert_allclose(
        apply(load_transform("standardise").fit(given), episode), query / rows.std(0), rtol=1e-5, atol=1e-5
    )
    covariance = np.cov(rows.T, bias=True)
    shrunk = covariance + 0.2 * np.trace(covariance) / 6 * np.eye(6)
    values, vectors = np.linalg.eigh(shrunk)
    expected = query @ (vectors / np.sqrt(values)) @ vectors.T
    np.testing.assert_allclose(apply(load_transform("whiten(shrinkage=0.2)").fit(given), episode), expected, atol=1e-4)


def test_whitened_base_is_white(base: Tensor) -> None:
    transform = load_transform("whiten(shrinkage=0.0)").fit(base)
    one = Episode(base[None, :1], torch.zeros(1, 1, dtype=torch.int64), base[None], way=1)
    white = transform(one.query, transform.adapt(one))[0].double().numpy()
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-3)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-4)


def test_whiten_without_base_data_says_what_to_do(episode: Episode) -> None:
    with pytest.raises(ValueError, match=r"whiten has no base data; .*fit\(base\).*'centre' or 'cl2n'"):
        load_learner("whiten | prototypes")(episode)


@pytest.mark.parametrize("name", FITTED)
def test_base_statistics_are_saved_and_loaded(name: str, base: Tensor, episode: Episode) -> None:
    from safetensors.torch import load, save

    chain = load_learner(f"{name} | prototypes")
    assert isinstance(chain, Pipeline)
    chain.fit(base)
    fresh = load_learner(repr(chain))
    fresh.load_state_dict(load(save(chain.state_dict())))
    assert torch.equal(fresh(episode), chain(episode))
    assert torch.equal(copy.deepcopy(chain)(episode), chain(episode))
    other = load_learner(f"{name} | prototypes")
    if name != "whiten":
        assert not torch.equal(other(episode), chain(episode))

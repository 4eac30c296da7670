"""Transforms: their formulas, what they may look at, and chains of them in front of a learner."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from episodes import Episode, Support, TensorSource
from fewshot import load_learner
from fewshot.learners import Prototypes
from fewshot.learners.prototypes import PrototypesState
from fewshot.transforms import Pipeline, Transform, list_transforms, load_transform

FITTED = ["centre", "cl2n", "standardise", "whiten"]


@pytest.fixture
def base(generator: torch.Generator) -> Tensor:
    """Correlated rows of base classes, far from the origin ``[M, D]``."""
    return torch.randn(400, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 5


@pytest.fixture
def episode(generator: torch.Generator) -> Episode:
    """Four episodes with one padding row each, text and unlabelled rows."""
    support = torch.randn(4, 7, 6, generator=generator) + 3
    labels = torch.tensor([[0, 1, 2, -1, 0, 1, 2]]).expand(4, -1)
    query, more = torch.randn(4, 5, 6, generator=generator), torch.randn(4, 3, 6, generator=generator)
    text = torch.randn(4, 3, 6, generator=generator)
    return Episode(support, labels, query, way=3, text=text, unlabelled=more)


def apply(transform: Transform, episode: Episode) -> np.ndarray:
    return transform(episode.query, transform.adapt(episode)).numpy()


def test_l2_and_power_follow_their_formulas(episode: Episode) -> None:
    query = episode.query.numpy()
    expected = query / np.linalg.norm(query, axis=-1, keepdims=True)
    np.testing.assert_allclose(apply(load_transform("l2"), episode), expected, rtol=1e-5)
    expected = np.sign(query) * np.abs(query) ** 0.3
    # The constant that keeps the derivative at zero finite moves values by at most 1e-6 ** 0.3.
    np.testing.assert_allclose(apply(load_transform("power(beta=0.3)"), episode), expected, atol=1.1e-6**0.3)


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


def test_a_chain_fits_each_transform_behind_the_ones_before(base: Tensor, episode: Episode) -> None:
    chain = load_learner("power | centre | l2 | prototypes")
    assert isinstance(chain, Pipeline)
    mean = load_transform("power")(base[None], base.new_zeros(1))[0].mean(0)
    torch.testing.assert_close(chain.fit(base).transforms[1].mean, mean)
    rows = episode.replace(text=None, unlabelled=None)
    support, query = (
        torch.nn.functional.normalize(load_transform("power")(x, x.new_zeros(4)) - mean, dim=-1)
        for x in (rows.support, rows.query)
    )
    torch.testing.assert_close(chain(rows), Prototypes()(rows.replace(support=support, query=query)))


class Recorder(Prototypes):
    """Keeps what it was given, for the tests to see."""

    seen: Support

    def adapt(self, support: Support) -> PrototypesState:
        self.seen = support
        return super().adapt(support)


def test_text_and_unlabelled_rows_go_through_the_chain(episode: Episode) -> None:
    learner = Recorder()
    Pipeline([load_transform("centre"), load_transform("l2")], learner)(episode)
    seen = learner.seen
    assert seen.text is not None
    assert episode.text is not None
    assert seen.unlabelled is not None
    assert episode.unlabelled is not None
    # Statistics of the support say nothing about text, which is only scaled.
    torch.testing.assert_close(seen.text, torch.nn.functional.normalize(episode.text, dim=-1))
    mean = load_transform("centre").adapt(episode)
    expected = torch.nn.functional.normalize(episode.unlabelled - mean, dim=-1)
    torch.testing.assert_close(seen.unlabelled, expected)
    assert not hasattr(seen, "query")


@pytest.mark.parametrize("name", ["l2", "power", "centre", "cl2n"])
def test_transforms_keep_inputs_precision_and_gradients(name: str, episode: Episode) -> None:
    before = episode.support.clone()
    double = episode.replace(support=episode.support.double(), query=episode.query.double(), text=None)
    double.support[:, 0, 0] = 0  # where the power has no derivative of its own
    chain = load_learner(f"{name} | prototypes")
    support = double.support.clone().requires_grad_()
    logits = chain(double.replace(support=support))
    assert logits.dtype == torch.float64
    (gradient,) = torch.autograd.grad(logits.log_softmax(-1)[..., 0].sum(), support)
    assert gradient.isfinite().all()
    assert (gradient[:, 3] == 0).all()  # the padding row
    assert gradient.abs().sum() > 0
    chain(episode)
    assert torch.equal(episode.support, before)


def test_transforms_do_not_mix_episodes_or_rows(episode: Episode) -> None:
    chain = load_learner("power | cl2n | ridge(alpha=0.1)")
    logits = chain(episode)
    torch.testing.assert_close(torch.cat([chain(one) for one in episode]), logits)
    single = [chain(episode.replace(query=episode.query[:, q : q + 1])) for q in range(5)]
    torch.testing.assert_close(torch.cat(single, 1), logits)


def test_a_chain_is_what_its_learner_is() -> None:
    learner = Prototypes()
    learner.needs, learner.transductive, learner.inputs = ("support", "text"), True, "features"
    chain = Pipeline([load_transform("l2")], learner)
    assert (chain.needs, chain.transductive, chain.inputs) == (("support", "text"), True, "features")
    with pytest.raises(ValueError, match="needs class text"):
        chain(Episode(torch.eye(2)[None], torch.tensor([[0, 1]]), torch.eye(2)[None], way=2))


def test_every_transform_round_trips_through_its_spec_string() -> None:
    assert {"centre", "cl2n", "l2", "power", "whiten"} <= set(list_transforms())
    for name in list_transforms():
        assert repr(load_transform(name)) == name
    spec = "power(beta=0.3) | whiten(shrinkage=0.5) | l2 | ridge(alpha=0.1)"
    assert repr(load_learner(spec)) == spec


def test_unknown_transforms_and_arguments_are_explained() -> None:
    with pytest.raises(ValueError, match="unknown transform 'center'; did you mean 'centre'"):
        load_learner("center | prototypes")
    with pytest.raises(ValueError, match=r"'power' has no argument 'beta_'; did you mean 'beta'"):
        load_transform("power(beta_=2)")
    with pytest.raises(ValueError, match="beta=0; it must be greater than 0"):
        load_transform("power(beta=0)")


def test_the_old_name_of_pipeline_works_and_says_so() -> None:
    with pytest.warns(DeprecationWarning, match="Chain is now called Pipeline"):
        from fewshot.transforms import Chain
    assert Chain is Pipeline
    with pytest.raises(ImportError, match="Nothing"):
        from fewshot.transforms import Nothing  # noqa: F401

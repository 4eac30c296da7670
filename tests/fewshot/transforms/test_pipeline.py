"""Chains of transforms in front of a learner: what each part sees, and what the whole is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from episodes import Episode, Support
from fewshot import load_learner
from fewshot.learners import Prototypes
from fewshot.learners.prototypes import PrototypesState
from fewshot.transforms import Pipeline, load_transform


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

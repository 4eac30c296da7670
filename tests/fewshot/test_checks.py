"""Each contract check catches a learner that was broken for it, and passes the honest twin."""

from __future__ import annotations

import random
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from episodes import Episode
from fewshot.learner import Learner
from fewshot.testing import ContractError, check_learner, list_checks, run_check


class Honest(Learner):
    """Nearest class mean with a learned scale, written as plainly as can be."""

    name: ClassVar[str] = "not-registered"

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.factor = torch.nn.Parameter(torch.tensor(float(scale)))

    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        one_hot = episode.one_hot
        shots = one_hot.sum(1)
        return one_hot.mT @ episode.support / shots.clamp(min=1)[..., None], shots == 0

    def adapt(self, episode: Episode):  # type: ignore[no-untyped-def]
        return self.means(episode)

    def predict(self, state, query: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        means, absent = state
        distances = (query[:, :, None] - means[:, None]).square().sum(-1)
        return (-self.factor * distances).masked_fill(absent[:, None], -torch.inf)


class HonestZeroShot(Honest):
    needs = ("support", "text")

    def adapt(self, episode: Episode):  # type: ignore[no-untyped-def]
        means, absent = self.means(episode)
        return torch.where(absent[..., None], episode.text, means), torch.zeros_like(absent)


class WrongShape(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        return super().predict(state, query).mT


class CastsToFloat32(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        return super().predict(state, query).float()


class WrongSign(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        means, absent = state
        return -super().predict((means, torch.zeros_like(absent)), query)


class CentresOverTheBatch(Honest):
    def adapt(self, episode):  # type: ignore[no-untyped-def]
        means, absent = self.means(episode)
        return means.mean(0, keepdim=True).expand_as(means), absent


class PrefersClassZero(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        return super().predict(state, query) + torch.tensor([1.0, 0, 0])


class AssumesSortedSupport(Honest):
    def adapt(self, episode):  # type: ignore[no-untyped-def]
        size = episode.support.shape[1] // episode.way
        return episode.support[:, : size * episode.way].unflatten(1, (episode.way, size)).mean(2), torch.zeros(
            len(episode), episode.way, dtype=torch.bool
        )


class WeighsByQueryPosition(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        return super().predict(state, query) * torch.arange(1, query.shape[1] + 1)[:, None]


class CentresTheQueries(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        return super().predict(state, query - query.mean(1, keepdim=True))


class ForgetsTheMask(Honest):
    def means(self, episode):  # type: ignore[no-untyped-def]
        return super().means(episode.replace(labels=episode.labels.clamp(min=0)))


class AcceptsNoSupport(Honest):
    def check(self, episode):  # type: ignore[no-untyped-def]
        pass


class TextWithoutFallback(HonestZeroShot):
    def adapt(self, episode):  # type: ignore[no-untyped-def]
        return self.means(episode)


class NeedsVariance(Honest):
    def adapt(self, episode):  # type: ignore[no-untyped-def]
        means, absent = self.means(episode)
        rest = episode.support - (episode.one_hot @ means)
        scale = rest.square().sum((1, 2), keepdim=True)
        return means / scale * scale, absent


class AssumesEqualShots(Honest):
    def means(self, episode):  # type: ignore[no-untyped-def]
        means, absent = super().means(episode)
        shots = episode.shots
        return torch.where((shots == shots[:, :1]).all(1)[:, None, None], means, torch.nan), absent


class NeedsTwoQueries(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        return super().predict(state, query) / (query.shape[1] - 1)


class AbsentClassAtOrigin(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        means, absent = state
        return super().predict((means, torch.zeros_like(absent)), query)


class CutsTheGraph(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        return super().predict(state, query).detach()


class MutatesItsInput(Honest):
    def adapt(self, episode):  # type: ignore[no-untyped-def]
        episode.support.mul_(1.0001)
        return self.means(episode)


class SeedsTheWorld(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        torch.manual_seed(0)
        return super().predict(state, query)


class DrawsFromNumpy(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        np.random.rand()  # noqa: NPY002
        return super().predict(state, query)


class DrawsFromRandom(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        random.random()
        return super().predict(state, query)


class Unrepeatable(Honest):
    calls = 0

    def predict(self, state, query):  # type: ignore[no-untyped-def]
        Unrepeatable.calls += 1
        return super().predict(state, query) + 1e-6 * Unrepeatable.calls


class StateHoldsTheWay(Honest):
    def adapt(self, episode):  # type: ignore[no-untyped-def]
        return (*self.means(episode), episode.way)

    def predict(self, state, query):  # type: ignore[no-untyped-def]
        return super().predict(state[:2], query)


class StateWithoutEpisodes(Honest):
    def adapt(self, episode):  # type: ignore[no-untyped-def]
        return (*self.means(episode), torch.ones(5))

    def predict(self, state, query):  # type: ignore[no-untyped-def]
        return super().predict(state[:2], query)


class PeeksAtTheQuery(Honest):
    def adapt(self, episode):  # type: ignore[no-untyped-def]
        means, absent = self.means(episode)
        return means + 0.01 * episode.query.mean(1, keepdim=True), absent


class RemembersTheEpisode(Honest):
    def adapt(self, episode):  # type: ignore[no-untyped-def]
        self.last = episode.labels
        return self.means(episode)


class RenamesItsArgument(Honest):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        del self.scale

    def hyperparameters(self):  # type: ignore[no-untyped-def]
        return {}

    def __repr__(self) -> str:
        return "renames"


class ForgetsItsArgument(Learner):
    """Claims to be `prototypes`, but its spec string loses the distance."""

    name = "prototypes"

    def __init__(self) -> None:
        from fewshot.learners import Prototypes

        super().__init__()
        self.inner = Prototypes(distance="cosine", scale=3.0)

    def adapt(self, episode):  # type: ignore[no-untyped-def]
        return self.inner.adapt(episode)

    def predict(self, state, query):  # type: ignore[no-untyped-def]
        return self.inner.predict(state, query)


class HidesAParameter(Honest):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self.parts = [torch.nn.Parameter(torch.tensor(2.0))]
        self.factor.data.zero_()

    def state_dict(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        return {"factor": self.factor.detach() + 1}


class DividesByTheNorm(Honest):
    def predict(self, state, query):  # type: ignore[no-untyped-def]
        return super().predict(state, query / query.norm(dim=-1, keepdim=True))


BROKEN: list[tuple[str, type[Learner]]] = [
    ("shape_and_dtype", WrongShape),
    ("shape_and_dtype", CastsToFloat32),
    ("learns_separable_classes", WrongSign),
    ("episodes_are_independent", CentresOverTheBatch),
    ("class_order_does_not_matter", PrefersClassZero),
    ("support_order_does_not_matter", AssumesSortedSupport),
    ("query_order_does_not_matter", WeighsByQueryPosition),
    ("inductive_flag_is_honest", CentresTheQueries),
    ("padding_is_ignored", ForgetsTheMask),
    ("zero_shot", AcceptsNoSupport),
    ("zero_shot", TextWithoutFallback),
    ("one_shot", NeedsVariance),
    ("unequal_shots", AssumesEqualShots),
    ("one_query", NeedsTwoQueries),
    ("absent_classes_are_never_chosen", AbsentClassAtOrigin),
    ("absent_classes_are_never_chosen", TextWithoutFallback),
    ("gradients_reach_everything", CutsTheGraph),
    ("inputs_are_not_changed", MutatesItsInput),
    ("global_random_numbers_are_untouched", SeedsTheWorld),
    ("global_random_numbers_are_untouched", DrawsFromNumpy),
    ("global_random_numbers_are_untouched", DrawsFromRandom),
    ("is_deterministic", Unrepeatable),
    ("state_is_tensors", StateHoldsTheWay),
    ("state_is_tensors", StateWithoutEpisodes),
    ("adapt_does_not_read_the_query", PeeksAtTheQuery),
    ("nothing_is_kept", RemembersTheEpisode),
    ("hyperparameters_are_stored", RenamesItsArgument),
    ("spec_string_round_trip", ForgetsItsArgument),
    ("weights_can_be_saved", HidesAParameter),
    ("degenerate_rows_give_no_nan", DividesByTheNorm),
]


@pytest.mark.parametrize("learner", [Honest(), HonestZeroShot()], ids=["features", "with text"])
def test_the_honest_twin_passes(learner: Learner) -> None:
    passed = check_learner(learner)
    assert set(list_checks()) - set(passed) <= {"spec_string_round_trip", "accelerator_equals_cpu"}


@pytest.mark.parametrize(("check", "broken"), BROKEN, ids=[f"{c}-{b.__name__}" for c, b in BROKEN])
def test_each_check_catches_its_broken_learner(check: str, broken: type[Learner]) -> None:
    with pytest.raises(ContractError, match=f"fails the check '{check}'"):
        run_check(check, broken())


def test_every_check_has_a_broken_learner() -> None:
    # A GPU that answers otherwise cannot be staged where there is none.
    assert set(list_checks()) == {check for check, _ in BROKEN} | {"accelerator_equals_cpu"}


def test_a_declared_failure_is_expected_and_must_be_true() -> None:
    class Declared(PrefersClassZero):
        expected_failures: ClassVar[dict[str, str]] = {"class_order_does_not_matter": "tied to class slots"}

    assert run_check("class_order_does_not_matter", Declared()) == "expected failure: tied to class slots"

    class Wrong(Honest):
        expected_failures: ClassVar[dict[str, str]] = {"one_query": "so I thought"}

    with pytest.raises(ContractError, match="passes 'one_query', which it declares to fail"):
        run_check("one_query", Wrong())

    class Silent(Honest):
        expected_failures: ClassVar[dict[str, str]] = {"one_query": " "}

    with pytest.raises(ContractError, match="gives no reason"):
        run_check("one_query", Silent())


def test_all_failures_are_reported_at_once() -> None:
    with pytest.raises(ContractError) as caught:
        check_learner(WrongShape())
    assert str(caught.value).count("fails the check") > 3


def test_unknown_check() -> None:
    with pytest.raises(ValueError, match="did you mean 'one_shot'"):
        run_check("oneshot", Honest())

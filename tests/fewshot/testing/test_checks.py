"""Each contract check catches a learner broken for it, whose honest twin (the class it derives from) passes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from episodes import Episode
from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.learners import ENTRIES
from fewshot.testing import ContractError, check_learner, list_checks, run_check


class Honest(Learner):
    """Nearest class mean with a learned scale, written as plainly as can be."""

    name: ClassVar[str] = "honest"
    invariant = ("offset", "scale")

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.factor = torch.nn.Parameter(torch.tensor(float(scale)))

    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        one_hot = episode.one_hot
        shots = one_hot.sum(1)
        return one_hot.mT @ episode.support.flatten(2) / shots.clamp(min=1)[..., None], shots == 0

    def adapt(self, episode: Episode) -> Any:
        return self.means(episode)

    def predict(self, state: Any, query: Tensor) -> Tensor:
        means, absent = state
        distances = (query.flatten(2)[:, :, None] - means[:, None]).square().sum(-1)
        return (-self.factor * distances).masked_fill(absent[:, None], -torch.inf)


class HonestImages(Honest):
    inputs = "images"
    item_shape = (1, 4, 4)


class HonestZeroShot(Honest):
    needs = ("support", "text")

    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return torch.where(absent[..., None], episode.text, means), torch.zeros_like(absent)


class HonestTransductive(Honest):
    """Centres support and queries, each on its own mean."""

    transductive = True

    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means - means.mean(1, keepdim=True), absent

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query - query.mean(1, keepdim=True))


class HonestWeights(Honest):
    """Means of rows seen through a random matrix, as a parameter."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self.matrix = torch.nn.Parameter(torch.eye(16) + 0.01 * torch.randn(16, 16))

    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        return super().means(episode.replace(support=episode.support @ self.matrix.to(episode.support)))

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query @ self.matrix.to(query))


class HonestInnerLoop(Honest):
    """Takes one gradient step from the class means on the support, gradients enabled for that."""

    def adapt(self, episode: Episode) -> Any:
        with torch.enable_grad():
            return self.step(episode)

    def step(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        means = means if means.requires_grad else means.requires_grad_()
        distances = (episode.support[:, :, None] - means[:, None]).square().sum(-1)
        (slope,) = torch.autograd.grad((episode.one_hot * distances).sum(), means, create_graph=True)
        return means - 0.01 * slope, absent


# One broken learner after the other, each derived from its honest twin.


class WrongShape(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query).mT


class CastsToFloat32(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query).float()


class WrongSign(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        means, absent = state
        return -super().predict((means, torch.zeros_like(absent)), query)


class AveragesOverTheBatch(Honest):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means + 1e-3 * means.mean(0, keepdim=True), absent


class PrefersClassZero(Honest):
    invariant = ("offset",)

    def predict(self, state: Any, query: Tensor) -> Tensor:
        logits = super().predict(state, query)
        return logits + (torch.arange(logits.shape[-1]) == 0)


class LeavesTextInPlace(HonestZeroShot):
    def adapt(self, episode: Episode) -> Any:
        means, absent = super().adapt(episode)
        return means + 0.01 * episode.text[:, :1], absent


class AssumesSortedSupport(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        return means + 1e-2 * episode.support[:, :1], absent


class WeighsByQueryPosition(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query) * torch.arange(1, query.shape[1] + 1)[:, None]


class HidesThatItCentresTheQueries(HonestTransductive):
    transductive = False


class ForgetsTheMask(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        return super().means(episode.replace(labels=episode.labels.clamp(min=0)))


class ForgetsTheMaskOfStatistics(HonestTransductive):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means - episode.support.mean(1, keepdim=True), absent


class CentresOnPaddingWithText(HonestZeroShot):
    def adapt(self, episode: Episode) -> Any:
        means, absent = super().adapt(episode)
        padded = (episode.labels < 0).any(1) & (episode.labels < 0).all(1)
        return torch.where(padded[:, None, None], 0.0, means), absent


class AcceptsNoSupport(Honest):
    def check(self, episode: Episode) -> None:
        pass


class IgnoresTheText(HonestZeroShot):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means, torch.zeros_like(absent)


class InventsText(HonestZeroShot):
    def check(self, episode: Episode) -> None:
        pass

    def adapt(self, episode: Episode) -> Any:
        if episode.text is None:
            rows = episode.support
            episode = episode.replace(text=rows.new_zeros(len(rows), episode.way, rows.shape[-1]))
        return super().adapt(episode)


class DividesByTheVariance(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        rest = episode.support - episode.one_hot @ means
        variance = rest.square().sum((1, 2), keepdim=True)
        return means * (variance / variance), absent


class AssumesEqualShots(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        equal = (episode.shots == episode.shots[:, :1]).all(1)
        return torch.where(equal[:, None, None], means, torch.nan), absent


class SharesTheShotOfTheBatch(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        return means * (1 + 0.01 * episode.support.shape[1]), absent


class NeedsTwoQueries(HonestTransductive):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query) / (query.shape[1] - 1)


class SqueezesOneQuery(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query).squeeze(1)


class PutsAbsentClassesAtTheOrigin(Honest):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means, torch.zeros_like(absent)


class ExcludesClassesKnownByText(HonestZeroShot):
    def adapt(self, episode: Episode) -> Any:
        return self.means(episode)


class NeedsTwoClasses(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        return means / ((~absent).sum(1) > 1)[:, None, None], absent


class NeedsNumbers(Honest):
    def adapt(self, episode: Episode) -> Any:
        assert episode.ids is not None
        return super().adapt(episode)


class MixesUnlabelledRows(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        if episode.unlabelled is not None:
            means = means + 0.01 * episode.unlabelled.mean((0, 1))
        return means, absent


class MultipliesBeforeItSubtracts(Honest):
    """``|q|² - 2 q·p + |p|²``, the usual way, which loses all digits far from zero."""

    def predict(self, state: Any, query: Tensor) -> Tensor:
        means, absent = state
        cross = query.flatten(2) @ means.mT
        squares = query.flatten(2).square().sum(-1)[..., None] + means.square().sum(-1)[:, None]
        return (-self.factor * (squares - 2 * cross)).masked_fill(absent[:, None], -torch.inf)


class LimitsTheDistance(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query).clamp(min=-1e5, max=-1e-5)


class DividesByTheNorm(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query / query.norm(dim=-1, keepdim=True))


class CutsTheGraph(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query).detach()


class ForgetsAParameter(Honest):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self.unused = torch.nn.Parameter(torch.zeros(3))


class MultipliesAParameterByZero(ForgetsAParameter):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query) + 0 * self.unused.sum()


class TakesARootOfZero(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        return means + (means - means).square().sum(-1, keepdim=True).sqrt(), absent


class DetachesHalfOfThePath(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        means, absent = state
        cross = (query[:, :, None] * means[:, None].detach()).sum(-1)
        logits = self.factor * (2 * cross - means.square().sum(-1)[:, None])
        return logits.masked_fill(absent[:, None], -torch.inf)


class NeedsTheOuterGradientMode(HonestInnerLoop):
    def adapt(self, episode: Episode) -> Any:
        return self.step(episode)


class StopsAdaptingWithoutGradients(Honest):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means * (1.01 if torch.is_grad_enabled() else 1.0), absent


class MutatesItsInput(Honest):
    def adapt(self, episode: Episode) -> Any:
        episode.support.mul_(1.0)
        return super().adapt(episode)


class SeedsTheWorld(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        torch.manual_seed(0)
        return super().predict(state, query)


class DrawsFromNumpy(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        np.random.rand()  # noqa: NPY002
        return super().predict(state, query)


class DrawsFromRandom(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        random.random()
        return super().predict(state, query)


class Unrepeatable(Honest):
    calls = 0

    def predict(self, state: Any, query: Tensor) -> Tensor:
        Unrepeatable.calls += 1
        return super().predict(state, query) + Unrepeatable.calls % 2


class StateHoldsTheWay(Honest):
    def adapt(self, episode: Episode) -> Any:
        return (*self.means(episode), episode.way)

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state[:2], query)


class StateWithoutEpisodes(Honest):
    def adapt(self, episode: Episode) -> Any:
        return (*self.means(episode), torch.ones(episode.way))

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state[:2], query)


class StateInTheWrongOrder(Honest):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means.flip(0), absent

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict((state[0].flip(0), state[1]), query)


class EmptyState(Honest):
    def adapt(self, episode: Episode) -> Any:
        self.learned = self.means(episode)
        return ()

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(self.learned, query)


class PeeksAtTheQuery(Honest):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means + 0.01 * episode.query.mean(1, keepdim=True), absent


class CountsTheQueries(Honest):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means * (1 + 0.01 * episode.query.shape[1]), absent


class RemembersTheEpisode(Honest):
    def adapt(self, episode: Episode) -> Any:
        self.last = episode.labels
        return super().adapt(episode)


class FillsAContainer(Honest):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self.seen = {"last": torch.zeros(1)}

    def adapt(self, episode: Episode) -> Any:
        self.seen["last"] = self.seen["last"] + 1
        return super().adapt(episode)


class TrainsItself(Honest):
    def adapt(self, episode: Episode) -> Any:
        self.factor.detach().mul_(1.001)
        return super().adapt(episode)


class ServesTheLatestEpisode(Honest):
    latest: ClassVar[list[Any]] = []

    def adapt(self, episode: Episode) -> Any:
        type(self).latest[:] = [self.means(episode)]
        return torch.zeros(len(episode))

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(self.latest[0], query)


class UnknownInputs(Honest):
    inputs = "feature"


class UnknownInvariance(Honest):
    invariant = ("rotation",)


class UnknownNeeds(Honest):
    needs = ("supports",)


class ExpectsAnUnknownFailure(Honest):
    expected_failures: ClassVar[dict[str, str]] = {"one_shoot": "a typing error"}


class ConvertsItsArgument(Honest):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self.scale = [scale]  # type: ignore[assignment]


class RenamesItsArgument(Honest):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        del self.scale

    def __repr__(self) -> str:
        return "renames"


class ForgetsItsArgument(Honest):
    def __init__(self, scale: float = 2.0) -> None:
        super().__init__(scale)

    def __repr__(self) -> str:
        return "honest"


class SharesItsWeightsWithCopies(Honest):
    def __deepcopy__(self, memo: dict[int, Any]) -> SharesItsWeightsWithCopies:
        twin = type(self)(self.scale)
        twin.factor = self.factor
        return twin


class LosesItsWeightsWhenCopied(Honest):
    def __deepcopy__(self, memo: dict[int, Any]) -> LosesItsWeightsWhenCopied:
        return type(self)(self.scale + 1)


class HidesItsWeights(HonestWeights):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        matrix = self.matrix.detach()
        del self.matrix
        self.matrix = matrix  # a tensor that no state dict knows


class ComputesOnTheProcessor(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        self.cpu()
        return super().predict(tuple(part.cpu() for part in state), query.cpu())


class LeavesNothingOut(Honest):
    def adapt_without(self, state: Any, support: Support, left: Tensor) -> Any:
        return tuple(part.expand(len(left), *part.shape[1:]) for part in state)


BROKEN: list[tuple[str, type[Honest]]] = [
    ("shape_and_dtype", WrongShape),
    ("shape_and_dtype", CastsToFloat32),
    ("learns_separable_classes", WrongSign),
    ("zero_shot", AcceptsNoSupport),
    ("zero_shot", IgnoresTheText),
    ("missing_text_is_refused", InventsText),
    ("one_shot", DividesByTheVariance),
    ("unequal_shots", AssumesEqualShots),
    ("unequal_shots", SharesTheShotOfTheBatch),
    ("one_query", NeedsTwoQueries),
    ("one_query", SqueezesOneQuery),
    ("absent_classes_are_never_chosen", PutsAbsentClassesAtTheOrigin),
    ("absent_classes_are_never_chosen", ExcludesClassesKnownByText),
    ("absent_classes_are_never_chosen", NeedsTwoClasses),
    ("episode_numbers_are_optional", NeedsNumbers),
    ("unlabelled_rows_are_accepted", MixesUnlabelledRows),
    ("degenerate_rows_give_no_nan", DividesByTheNorm),
    ("episodes_are_independent", AveragesOverTheBatch),
    ("class_order_does_not_matter", PrefersClassZero),
    ("class_order_does_not_matter", LeavesTextInPlace),
    ("support_order_does_not_matter", AssumesSortedSupport),
    ("query_order_does_not_matter", WeighsByQueryPosition),
    ("inductive_flag_is_honest", HidesThatItCentresTheQueries),
    ("padding_is_ignored", ForgetsTheMask),
    ("padding_is_ignored", ForgetsTheMaskOfStatistics),
    ("padding_is_ignored", CentresOnPaddingWithText),
    ("rows_can_be_left_out", LeavesNothingOut),
    ("offset_does_not_matter", MultipliesBeforeItSubtracts),
    ("scale_does_not_matter", LimitsTheDistance),
    ("is_deterministic", Unrepeatable),
    ("accelerator_equals_cpu", ComputesOnTheProcessor),
    ("gradients_reach_everything", CutsTheGraph),
    ("gradients_reach_everything", ForgetsAParameter),
    ("gradients_reach_everything", MultipliesAParameterByZero),
    ("gradients_reach_everything", TakesARootOfZero),
    ("gradients_match_finite_differences", DetachesHalfOfThePath),
    ("gradient_mode_does_not_matter", NeedsTheOuterGradientMode),
    ("gradient_mode_does_not_matter", StopsAdaptingWithoutGradients),
    ("inputs_are_not_changed", MutatesItsInput),
    ("global_random_numbers_are_untouched", SeedsTheWorld),
    ("global_random_numbers_are_untouched", DrawsFromNumpy),
    ("global_random_numbers_are_untouched", DrawsFromRandom),
    ("state_is_tensors", StateHoldsTheWay),
    ("state_is_tensors", StateWithoutEpisodes),
    ("state_is_tensors", StateInTheWrongOrder),
    ("state_is_tensors", EmptyState),
    ("adapt_does_not_read_the_query", PeeksAtTheQuery),
    ("adapt_does_not_read_the_query", CountsTheQueries),
    ("nothing_is_kept", RemembersTheEpisode),
    ("nothing_is_kept", FillsAContainer),
    ("nothing_is_kept", TrainsItself),
    ("nothing_is_kept", ServesTheLatestEpisode),
    ("declarations_are_valid", UnknownInputs),
    ("declarations_are_valid", UnknownNeeds),
    ("declarations_are_valid", UnknownInvariance),
    ("declarations_are_valid", ExpectsAnUnknownFailure),
    ("hyperparameters_are_stored", ConvertsItsArgument),
    ("hyperparameters_are_stored", RenamesItsArgument),
    ("spec_string_round_trip", ForgetsItsArgument),
    ("copies_are_independent", SharesItsWeightsWithCopies),
    ("copies_are_independent", LosesItsWeightsWhenCopied),
    ("weights_can_be_saved", HidesItsWeights),
]
# What the honest twin of a broken learner does not derive from, but from what is broken in another way.
TWINS: dict[type[Honest], type[Honest]] = {MultipliesAParameterByZero: Honest}
HONEST = [Honest, HonestImages, HonestZeroShot, HonestTransductive, HonestWeights, HonestInnerLoop]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`Honest` is known by name here, so that its spec string can be read back."""
    monkeypatch.setitem(ENTRIES, "honest", f"{__name__}:Honest")
    return


@pytest.mark.parametrize("learner", HONEST)
def test_honest_learners_pass_every_check(learner: type[Honest]) -> None:
    torch.manual_seed(0)
    missed = set(list_checks()) - set(check_learner(learner))
    # Only the first is registered, only the fourth needs text, a transductive one need not be inductive.
    assert missed <= {"spec_string_round_trip", "accelerator_equals_cpu", "missing_text_is_refused",
                      "inductive_flag_is_honest"}  # fmt: skip


@pytest.mark.parametrize(("check", "broken"), BROKEN, ids=[f"{c}-{b.__name__}" for c, b in BROKEN])
def test_each_check_catches_its_broken_learner(check: str, broken: type[Honest], monkeypatch) -> None:  # type: ignore[no-untyped-def]
    if check == "accelerator_equals_cpu" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    twin = TWINS.get(broken, broken.__mro__[1])
    expected = "skipped: declared transductive" if check == "inductive_flag_is_honest" else "passed"
    assert run_check(check, twin()) == expected  # type: ignore[operator]
    if check == "spec_string_round_trip":
        monkeypatch.setitem(ENTRIES, "honest", f"{__name__}:{broken.__name__}")
    with pytest.raises(ContractError, match=f"fails the check '{check}'"):
        run_check(check, broken(3.0) if check == "spec_string_round_trip" else broken())


def test_every_check_has_a_broken_learner() -> None:
    assert set(list_checks()) == {check for check, _ in BROKEN}


def test_an_honest_inductive_learner_is_found_inductive() -> None:
    assert run_check("inductive_flag_is_honest", Honest) == "passed"


def test_a_declared_failure_is_expected_and_must_be_true() -> None:
    class Declared(PrefersClassZero):
        expected_failures: ClassVar[dict[str, str]] = {"class_order_does_not_matter": "tied to class slots"}

    assert run_check("class_order_does_not_matter", Declared()) == "expected failure: tied to class slots"
    assert "class_order_does_not_matter" not in check_learner(Declared())

    class Wrong(Honest):
        expected_failures: ClassVar[dict[str, str]] = {"one_query": "so I thought"}

    with pytest.raises(ContractError, match="passes 'one_query', which it declares to fail"):
        run_check("one_query", Wrong())

    class Silent(Honest):
        expected_failures: ClassVar[dict[str, str]] = {"one_query": " "}

    with pytest.raises(ContractError, match="gives no reason"):
        run_check("one_query", Silent())


def test_a_learner_states_its_own_tolerance() -> None:
    class Iterative(AveragesOverTheBatch):
        tolerance: ClassVar[float] = 0.1

    assert run_check("episodes_are_independent", Iterative()) == "passed"


def test_a_learner_states_its_own_way_and_item_shape() -> None:
    class Fixed(Honest):
        way, item_shape = 6, (7,)

        def predict(self, state: Any, query: Tensor) -> Tensor:
            assert query.shape[2:] == (7,)
            assert state[0].shape[1:] == (6, 7)
            return super().predict(state, query)

    assert "shape_and_dtype" in check_learner(Fixed())


def test_the_message_names_the_check_what_it_demands_and_what_was_found() -> None:
    with pytest.raises(ContractError) as caught:
        run_check("shape_and_dtype", WrongShape())
    assert str(caught.value) == (
        "honest fails the check 'shape_and_dtype' (Logits are ``[E, Q, N]``, finite, in the precision of the rows.): "
        "logits are [3, 4, 8], expected [E, Q, N] = [3, 8, 4]"
    )


def test_all_failures_are_reported_at_once() -> None:
    with pytest.raises(ContractError) as caught:
        check_learner(WrongShape())
    assert str(caught.value).count("fails the check") > 3


def test_a_learner_that_crashes_fails() -> None:
    class Crashes(Honest):
        def predict(self, state: Any, query: Tensor) -> Tensor:
            raise KeyError("gone")

    with pytest.raises(ContractError, match="KeyError: 'gone'"):
        run_check("one_query", Crashes())


def test_checking_leaves_the_learner_alone() -> None:
    learner = Honest(2.0).train()
    learner.factor.grad = None
    check_learner(learner)
    assert learner.training
    assert (learner.factor.item(), learner.factor.dtype) == (2.0, torch.float32)


def test_unknown_check() -> None:
    with pytest.raises(ValueError, match="did you mean 'one_shot'"):
        run_check("oneshot", Honest())

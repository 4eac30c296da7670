"""Each contract check catches a learner broken for it, whose honest twin (the class it derives from) passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from broken_learners import BROKEN, HONEST, TWINS
from broken_learners.honest import Honest
from broken_learners.invariances import AveragesOverTheBatch, PrefersClassZero
from broken_learners.outputs import WrongShape
from torch import Tensor

from episodes.episode import Support
from fewshot import load_learner
from fewshot.learners import ENTRIES
from fewshot.learners.prototypes import Prototypes
from fewshot.testing import ContractError, check_learner, list_checks, run_check


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`Honest` is known by name here, so that its spec string can be read back."""
    monkeypatch.setitem(ENTRIES, "honest", "broken_learners.honest:Honest")
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
        monkeypatch.setitem(ENTRIES, "honest", f"{broken.__module__}:{broken.__name__}")
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


@pytest.mark.parametrize("head", ["prototypes", "prototypes(distance='cosine')", "matching"])
def test_a_network_with_kinks_has_the_gradients_that_it_should(head: str) -> None:
    """ReLU and pooling bend within the first step; Euclidean logits are measured from a centre outside the graph."""
    for seed in range(2):
        torch.manual_seed(seed)
        learner = load_learner(f"conv4(channels=8) | {head}")
        assert run_check("gradients_match_finite_differences", learner) == "passed"


def test_a_gradient_that_is_slightly_wrong_is_caught_behind_kinks() -> None:
    class Leaky(Prototypes):
        """A share of the means stands outside the graph."""

        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8))

        def adapt(self, support: Support) -> Any:
            rows = self.net(support.support)
            rows = 0.99 * rows + 0.01 * rows.detach()
            return super().adapt(Support(rows, support.labels, support.way))

        def predict(self, state: Any, query: Tensor) -> Tensor:
            return super().predict(state, self.net(query))

    torch.manual_seed(0)
    with pytest.raises(ContractError, match="finite differences give"):
        run_check("gradients_match_finite_differences", Leaky())


def test_random_weights_are_pointed_to_where_they_may_be_the_reason() -> None:
    torch.manual_seed(0)
    learner = load_learner("conv4(channels=2) | prototypes")
    with pytest.raises(ContractError, match=r"untrained = \{'learns_separable_classes': reason\}, and check a trained"):
        run_check("learns_separable_classes", learner)
    with pytest.raises(ContractError) as raised:
        run_check("learns_separable_classes", learner, trained=True)
    assert "untrained" not in str(raised.value)
    with pytest.raises(ContractError) as raised:
        run_check("learns_separable_classes", WrongShape())
    assert "untrained" not in str(raised.value)

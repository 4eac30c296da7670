"""`check_learner`: does a learner keep the contract? For the library's own learners and for yours.

>>> from fewshot.testing import check_learner
>>> check_learner("prototypes")[:2]
['shape_and_dtype', 'learns_separable_classes']

In a test file of yours, with one test per check::

    @pytest.mark.parametrize("check", list_checks())
    def test_contract(check):
        run_check(check, MyLearner())

What a learner breaks by nature it declares, with the reason: ``expected_failures = {check: reason}``; what it can only
keep once it has been trained, ``untrained = {check: reason}``; an iterative solver states its ``tolerance``. These are
class attributes of `Learner`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch

from fewshot.learner import Learner
from fewshot.testing.checks import CHECKS
from fewshot.testing.trial import Skip, TooFewRight, Trial

__all__ = ["ContractError", "check_learner", "list_checks", "run_check"]


class ContractError(AssertionError):
    """A learner breaks the contract; the message names the check and what was found."""


def list_checks() -> list[str]:
    """Names of all contract checks, for parametrised tests."""
    return list(CHECKS)


def run_check(
    name: str,
    learner: Learner | type[Learner] | str,
    *,
    item_shape: Sequence[int] | None = None,
    seed: int = 0,
    trained: bool = False,
) -> str:
    """Run one check; a known exception is expected to fail, and says so when it does not.

    Args:
        name: of the check.
        learner: an instance, a class whose arguments all have defaults, or a spec string.
        item_shape: shape of one row; as for `check_learner`.
        seed: for the episodes that are drawn.
        trained: its weights are those that training gave it, or it learns without; else what it declares as
            ``untrained`` is skipped.

    Returns:
        ``"passed"``, ``"expected failure: reason"`` or ``"skipped: reason"``.

    Raises:
        ContractError: the learner fails the check, or passes one that it declares it fails.
    """
    from fewshot.learners import load_learner

    if name not in CHECKS:
        from fewshot.registry import unknown

        raise ValueError(unknown("check", name, CHECKS))
    original = learner() if isinstance(learner, type) else load_learner(learner)
    for declared in ("expected_failures", "untrained"):
        for wrong in getattr(original, declared).keys() - CHECKS.keys():
            raise ContractError(
                f"{original!r} fails the check 'declarations_are_valid': {declared} names {wrong!r}, which is no check."
            )
    reason = original.expected_failures.get(name)
    if reason is not None and not str(reason).strip():
        raise ContractError(f"{original!r} expects to fail {name!r} but gives no reason.")
    if not trained and name in original.untrained:
        return f"skipped: not trained: {original.untrained[name]}"
    trial = Trial(copy.deepcopy(original).eval(), item_shape, seed)
    try:
        with torch.no_grad():
            CHECKS[name](trial)
    except Skip as skip:
        return f"skipped: {skip}"
    except Exception as error:
        if reason is not None:
            return f"expected failure: {reason}"
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        demand = (CHECKS[name].__doc__ or "").partition("\n")[0]
        hint = ""
        if isinstance(error, TooFewRight) and not trained and any(True for _ in original.parameters()):
            hint = (
                f"; where random weights are the reason, declare it: untrained = {{{name!r}: reason}}, and check a "
                "trained learner with trained=True"
            )
        raise ContractError(f"{original!r} fails the check {name!r} ({demand}): {kind}{error}{hint}") from error
    if reason is not None:
        raise ContractError(f"{original!r} passes {name!r}, which it declares to fail ({reason}); remove that.")
    return "passed"


def check_learner(
    learner: Learner | type[Learner] | str,
    checks: Iterable[str] | None = None,
    *,
    item_shape: Sequence[int] | None = None,
    seed: int = 0,
    trained: bool = False,
) -> list[str]:
    """Run all contract checks on a learner.

    Args:
        learner: an instance, a class whose arguments all have defaults, or a spec string.
        checks: names of checks (`list_checks`); all by default.
        item_shape: shape of one row; by default the learner's ``item_shape`` where it has one, else ``[16]`` for
            features and ``[1, 28, 28]`` for images.
        seed: for the episodes that are drawn.
        trained: also run the checks that it declares to say nothing about random weights (`Learner.untrained`).

    Returns:
        Names of the checks passed.

    Raises:
        ContractError: every check that failed, with what was found.
    """
    passed, failures = [], []
    for name in CHECKS if checks is None else checks:
        try:
            if run_check(name, learner, item_shape=item_shape, seed=seed, trained=trained) == "passed":
                passed.append(name)
        except ContractError as error:
            failures.append(str(error))
    if failures:
        raise ContractError("\n".join(failures))
    return passed

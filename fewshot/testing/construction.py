"""Checks of making a learner again: from its arguments, its spec string, a copy, saved weights."""

from __future__ import annotations

import copy

from fewshot.registry import argument_names
from fewshot.testing.trial import Skip, Trial


def declarations_are_valid(trial: Trial) -> None:
    """The class attributes hold what the contract allows."""
    learner = trial.learner
    assert learner.inputs in ("features", "images"), f"inputs is {learner.inputs!r}, expected 'features' or 'images'"
    known = {"support", "text", "unlabelled"}
    assert isinstance(learner.needs, tuple) and learner.needs and set(learner.needs) <= known, (
        f"needs is {learner.needs!r}, expected a tuple of {', '.join(sorted(known))}"
    )
    assert isinstance(learner.transductive, bool), f"transductive is {learner.transductive!r}, expected a bool"
    assert isinstance(learner.invariant, tuple) and set(learner.invariant) <= {"offset", "scale"}, (
        f"invariant is {learner.invariant!r}, expected a tuple of offset, scale"
    )
    assert 0 < learner.tolerance < 1, f"tolerance is {learner.tolerance!r}, expected a number between 0 and 1"
    for name, reason in learner.expected_failures.items():
        assert isinstance(reason, str) and reason.strip(), f"expected_failures gives no reason for {name!r}"
    for name, reason in learner.untrained.items():
        assert isinstance(reason, str) and reason.strip(), f"untrained gives no reason for {name!r}"


def hyperparameters_are_stored(trial: Trial) -> None:
    """Every argument of ``__init__`` is stored unchanged under its name, and makes an equal learner."""
    learner = trial.learner
    for name in argument_names(type(learner)):
        assert hasattr(learner, name), f"the argument {name!r} is not stored under its name"
    given = learner.hyperparameters()
    assert set(given) == set(argument_names(type(learner))), f"hyperparameters() are {sorted(given)}"
    twin = type(learner)(**given)
    for name, value in twin.hyperparameters().items():
        # Containers of modules are made anew; anything else must be the very object that was given.
        same = value is given[name] or (isinstance(value, (list, dict)) and repr(value) == repr(given[name]))
        assert same, f"{name}={given[name]!r} is stored as {value!r}"
    assert repr(twin) == repr(learner), f"its own hyper-parameters make {twin!r}"


def spec_string_round_trip(trial: Trial) -> None:
    """``load_learner(repr(learner))`` is an equal learner."""
    from fewshot.learners import LEARNERS, list_learners, load_learner

    learner = trial.learner
    if learner.name and (learner.name not in list_learners() or LEARNERS.get(learner.name) is not type(learner)):
        raise Skip("not registered")
    twin = load_learner(repr(learner)).eval()
    assert type(twin) is type(learner), f"repr makes a {type(twin).__name__}"
    given, found = repr(learner.hyperparameters()), repr(twin.hyperparameters())
    assert found == given, f"repr makes a learner with {found}, expected {given}"
    assert repr(twin) == repr(learner), f"repr changes to {twin!r}"
    twin.load_state_dict(learner.state_dict())
    trial.same(twin(trial.episode), trial.logits(), f"a learner made from {learner!r}")


def copies_are_independent(trial: Trial) -> None:
    """A copy answers the same, and training it does not train the original."""
    expected = trial.logits()
    twin = copy.deepcopy(trial.learner)
    trial.same(twin(trial.episode), expected, "a copy")
    for parameter in twin.parameters():
        parameter.detach().add_(1.0)
    trial.same(trial.logits(), expected, "the original of a copy that was trained")


def weights_can_be_saved(trial: Trial) -> None:
    """All that was learned or drawn is in the state dict, which survives safetensors.

    A fresh learner of the same hyper-parameters that loads it answers the same.
    """
    from safetensors.torch import load, save

    weights = {name: value.contiguous() for name, value in trial.learner.state_dict().items()}
    twin = trial.twin()
    twin.load_state_dict(load(save(weights)))
    trial.same(twin(trial.episode), trial.logits(), "a saved and loaded learner")

"""Transforms by name: spec strings, messages, names of earlier versions."""

from __future__ import annotations

import pytest

from fewshot import load_learner
from fewshot.transforms import Pipeline, list_transforms, load_transform


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

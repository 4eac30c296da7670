"""Samplers of the command line: every name, and columns of a table over the same classes."""

from __future__ import annotations

import logging

import pytest
import torch

from episodes import TensorSource
from episodes.samplers import SAMPLERS
from fewshot.samplers import make_samplers


def test_a_class_too_small_for_some_shots_is_left_out_of_all_in_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "fewshot")
    labels = torch.arange(4).repeat_interleave(30)
    labels = torch.cat([labels, torch.full((12,), 4)])
    source = TensorSource(torch.zeros(len(labels), 2), labels, [*"abcd", "rare"], name="notes")
    for spec in ("fixed", "dirichlet", "disjoint", "open-set(open_way=1)", "semi-supervised(unlabelled=2)"):
        caplog.clear()
        samplers = make_samplers(spec, source, [2, 3], [1, 5, 20], 5, 0)
        assert {tuple(sampler.classes.tolist()) for sampler in samplers} == {(0, 1, 2, 3)}
        assert [(sampler.way, sampler.shot) for sampler in samplers] == [(w, k) for w in (2, 3) for k in (1, 5, 20)]
        assert all(sampler.recipe()["from_classes"] == [4, 5] for sampler in samplers)
        [said] = caplog.messages
        assert said == (
            "1 of 5 classes of notes have too few rows for --shot 1 5 20 with --query 5 and are never drawn: 'rare'."
        )
    caplog.clear()
    samplers = make_samplers("fixed", source, [3], [1, 5], 5, 0)
    assert {tuple(sampler.classes.tolist()) for sampler in samplers} == {(0, 1, 2, 3, 4)} and not caplog.messages
    [one] = make_samplers("fixed", source, [3], [20], 5, 0)
    assert len(one.classes) == 4 and len(caplog.messages) == 1, "a class that one column lacks is named, too"


def test_every_sampler_is_made_by_name() -> None:
    source = TensorSource(torch.zeros(160, 2), torch.arange(160) % 8, [f"{n // 4}/{n}" for n in range(8)])
    specs = {"variable": "variable(least_way=2)", "open-set": "open-set(open_way=1)", "exhaustive": "exhaustive"}
    for name in set(SAMPLERS.names()) - {"manifest", "cross-domain"}:
        made = make_samplers(specs.get(name, name), source, [2], [1, 3], 4, 0)
        assert {sampler.kind for sampler in made} == {name} and len(made) == (1 if name == "variable" else 2)
    with pytest.raises(ValueError, match="cross-domain needs domains"):
        make_samplers("cross-domain", source, [2], [1], 4, 0)
    with pytest.raises(ValueError, match="'fixed' has no argument 'way'; it takes: classes, episodes"):
        make_samplers("fixed(way=3)", source, [2], [1], 4, 0)

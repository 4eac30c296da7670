"""Learners by name, and those that are given as strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points

import torch

from episodes.cell import Learns


def name_learners(
    learners: Learns | str | Sequence[Learns | str] | Mapping[str, Learns | str],
) -> dict[str, Learns]:
    """Learners by name, spec strings resolved.

    Raises:
        ValueError: two learners of one name, or none at all.
    """
    if isinstance(learners, Mapping):
        pairs = list(learners.items())
    else:
        listed = [learners] if isinstance(learners, str) or callable(learners) else list(learners)
        pairs = [(_name(learner), learner) for learner in listed]
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not pairs:
        what = f"two learners are called {twice[0]!r}" if twice else "no learners given"
        raise ValueError(f'{what}; give a mapping of distinct names, like {{"mine": learner}}.')
    return {name: _resolve(learner) if isinstance(learner, str) else learner for name, learner in pairs}


def _name(learner: Learns | str) -> str:
    if isinstance(learner, str):
        return learner
    if isinstance(learner, torch.nn.Module):
        text = repr(learner)
        return text if "\n" not in text else f"{type(learner).__name__}(...)"
    return getattr(learner, "__name__", type(learner).__name__)


def _resolve(spec: str) -> Learns:
    for point in entry_points(group="episodes.learners"):
        return point.load()(spec)
    raise ValueError(
        f"cannot make a learner of the string {spec!r}: no installed package resolves learner names. "
        "Install fewshot, or give a callable Episode -> logits."
    )

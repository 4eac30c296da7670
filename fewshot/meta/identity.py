"""The identity of a training: all that decides its weights, or which of them are best, by value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from episodes.identity import describe_architecture, digest
from episodes.source import Source
from fewshot.meta.plan import Monitoring, Plan
from fewshot.randomness import seed_layers


def training_identity(
    learner: nn.Module,
    source: Source,
    sampler: Any,
    monitoring: Monitoring,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None,
    plan: Plan,
    **more: Any,
) -> dict[str, Any]:
    """Learner (its code and settings, which layers are frozen), rows, episodes, validation, augmentation and plan.

    The number of steps is left out, since a training may be made longer.

    The weights that it begins with are compared apart (`digest_weights`), since training changes them.

    Raises:
        UnknownIdentityError: the state of one of them cannot be read.
    """
    seed_layers(learner, plan.seed)  # a generator of a layer's own stands where its last use left it
    return {
        "learner": {
            "spec": repr(learner), **describe_architecture(learner),
            "frozen": [name for name, value in learner.named_parameters() if not value.requires_grad],
        },
        "source": source.fingerprint(),
        "sampler": _recipe(sampler),
        "validation": _validation(monitoring),
        "augment": None if augment is None else digest(augment),
        "plan": {name: value for name, value in asdict(plan).items() if name != "steps"},
        **more,
    }  # fmt: skip


def _validation(monitoring: Monitoring) -> dict[str, Any] | None:
    if not isinstance(monitoring.validation, tuple):
        return None
    source, sampler = monitoring.validation
    return {
        "source": source.fingerprint(), "sampler": _recipe(sampler),
        "episodes": monitoring.validation_episodes, "every": monitoring.every,
    }  # fmt: skip


def refuse_another(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuse to resume a training of another identity.

    Raises:
        ValueError: they differ; the message names where.
    """
    for name in dict.fromkeys((*now, *before)):
        was, given = before.get(name), now.get(name)
        if was != given and not _only_moved(name, was, given):
            place, was, given = _difference(name, was, given)
            raise ValueError(
                f"{str(folder)!r} holds a training with {'other' if name.endswith('s') else 'another'} {name}: {place} "
                f"was {_short(was)}, now it is {_short(given)}. Take another folder, or the same arguments."
            )


def _only_moved(name: str, was: Any, given: Any) -> bool:
    """Whether a learner is the same but for the module that its class lies in, which says nothing of what it does."""
    if name != "learner" or not isinstance(was, dict) or not isinstance(given, dict):
        return False
    return all(was.get(key) == given.get(key) for key in {*was, *given} - {"class"})


def _difference(place: str, was: Any, given: Any) -> tuple[str, Any, Any]:
    """The first place in which two JSON values differ."""
    if isinstance(was, dict) and isinstance(given, dict):
        for name in sorted({*given, *was}, key=lambda name: (name == "digest", name)):  # what is readable comes first
            if was.get(name) != given.get(name):
                return _difference(f"{place}.{name}", was.get(name), given.get(name))
    return place, was, given


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _recipe(sampler: Any) -> Any:
    if sampler is None:
        return None
    recipe = getattr(sampler, "recipe", None)
    return recipe() if callable(recipe) else digest(sampler)

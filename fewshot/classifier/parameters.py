"""``learner__alpha``: the hyper-parameters of a learner, addressed the scikit-learn way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from fewshot.learner import Learner
from fewshot.learners import load_learner
from fewshot.registry import build, unknown


def nested_parameters(learner: str | Learner) -> dict[str, Any]:
    """Hyper-parameters of a learner and of the transforms in front of it, by address.

    Those of the learner go by their own name, those of a transform by ``transform__name``. A transform
    that stands in a chain twice has no address.

    >>> nested_parameters("prototypes(distance='cosine')")
    {'distance': 'cosine', 'scale': 1.0}
    """
    fronts, last = _parts(learner)
    addressed = dict(last.hyperparameters())
    for front in _once(fronts).values():
        addressed |= {f"{front.name}__{name}": value for name, value in front.hyperparameters().items()}
    return addressed


def with_parameters(learner: str | Learner, changes: Mapping[str, Any]) -> str | Learner:
    """The learner with some hyper-parameters changed: a new spec string, or a new instance.

    An instance is never changed in place, since others may share it; its weights are copied over.

    Raises:
        ValueError: unknown address (the message suggests near ones), or learned weights do not fit.

    >>> with_parameters("prototypes", {"distance": "cosine"})
    "prototypes(distance='cosine')"
    """
    fronts, last = _parts(learner)
    once = _once(fronts)
    own: dict[str, dict[str, Any]] = {}
    for address, value in changes.items():
        owner, separator, name = address.rpartition("__")
        if separator and owner not in once:
            raise ValueError(unknown(f"parameter of {learner!r}", address, nested_parameters(learner)))
        # A grid made by numpy holds numpy scalars, which a spec string cannot spell.
        own.setdefault(owner, {})[name] = value.item() if isinstance(value, np.generic) else value
    keep = not isinstance(learner, str)  # a spec string has learned nothing yet
    changed = _changed(last, own.get("", {}), keep)
    if fronts:
        parts = [_changed(part, own.get(part.name, {}) if part in once.values() else {}, keep) for part in fronts]
        changed = type(load_learner(learner))(parts, changed)
    return repr(changed) if isinstance(learner, str) else changed


def _parts(learner: str | Learner) -> tuple[list[Any], Learner]:
    loaded = load_learner(learner)
    if not isinstance(loaded, Learner):
        raise ValueError(f"{loaded!r} is not a Learner, so it has no hyper-parameters.")
    # A pipeline has them; one with a name of its own is a learner like others.
    transforms = None if loaded.name else getattr(loaded, "transforms", None)
    return ([], loaded) if transforms is None else (list(transforms), cast(Learner, loaded.learner))


def _once(fronts: list[Any]) -> dict[str, Any]:
    count = Counter(front.name for front in fronts)
    return {front.name: front for front in fronts if count[front.name] == 1}


def _changed(part: Any, changes: Mapping[str, Any], keep_weights: bool) -> Any:
    new = build(type(part), part.name, {**part.hyperparameters(), **changes})
    if keep_weights:
        try:
            new.load_state_dict(part.state_dict())
        except RuntimeError:
            given = ", ".join(f"{name}={value!r}" for name, value in changes.items())
            raise ValueError(
                f"the weights of {part!r} do not fit {given}; give a spec string to start afresh."
            ) from None
    return new

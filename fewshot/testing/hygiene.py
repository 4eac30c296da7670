"""Checks of side effects: inputs, random numbers, what the state holds, what stays on ``self``."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fewshot.testing.trial import Trial

_FIELDS = ("support", "labels", "query", "text", "ids", "unlabelled")


def inputs_are_not_changed(trial: Trial) -> None:
    """Nothing writes to the tensors of the episode."""
    episode, _ = trial.make(unlabelled=6)
    given = {name: value for name in _FIELDS if (value := getattr(episode, name)) is not None}
    before = {name: (value.clone(), value._version) for name, value in given.items()}
    trial.logits(episode)
    for name, value in given.items():
        copied, version = before[name]
        assert torch.equal(value, copied) and value._version == version, f"episode.{name} was written to"


def global_random_numbers_are_untouched(trial: Trial) -> None:
    """No global generator is drawn from or seeded."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002 (to be put back)
    try:
        with torch.random.fork_rng(devices):
            # From a state that no learner would choose, or seeding would go unnoticed after the same seeding.
            torch.manual_seed(987_654_321)
            np.random.seed(987_654_321)  # noqa: NPY002
            random.seed(987_654_321)
            before = _global_generators()
            trial.logits()
            after = _global_generators()
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
    for name, state in before.items():
        assert after[name] == state, f"the global random numbers of {name} were used"


def state_is_tensors(trial: Trial) -> None:
    """`adapt` returns tensors only, with leading dimension E: part e of each serves episode e."""
    episode, count = trial.episode, len(trial.episode)
    leaves, structure = pytree.tree_flatten(trial.learner.adapt(episode))
    assert leaves, "the state is empty, so what was learned must be kept elsewhere"
    for leaf in leaves:
        assert isinstance(leaf, Tensor), f"the state holds a {type(leaf).__name__}, not only tensors"
        assert leaf.ndim and len(leaf) == count, f"a state tensor is {list(leaf.shape)}; it must begin with E = {count}"
    logits = trial.logits()
    for e in range(count):
        part = pytree.tree_unflatten([leaf[e : e + 1] for leaf in leaves], structure)
        found = trial.learner.predict(part, episode.query[e : e + 1])
        trial.same(found, logits[e : e + 1], "the part of the state that belongs to one episode")


def adapt_does_not_read_the_query(trial: Trial) -> None:
    """The state is the same whatever the queries are, and however many."""
    honest = pytree.tree_leaves(trial.learner.adapt(trial.episode))
    query = trial.episode.query
    for poisoned in (torch.full_like(query, torch.nan), query[:, :1] + 1e3):
        other = pytree.tree_leaves(trial.learner.adapt(trial.episode.replace(query=poisoned)))
        same = len(honest) == len(other) and all(map(_equal, honest, other))
        assert same, "the state depends on the queries"


def nothing_is_kept(trial: Trial) -> None:
    """Nothing stays from one episode to the next: not on ``self``, nor anywhere that a later call reads."""
    before = _memory(trial.learner)
    logits = trial.logits()
    after = _memory(trial.learner)
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    assert not changed, f"forward changed {', '.join(changed)}"
    state = trial.learner.adapt(trial.episode)
    trial.logits(trial.make(variant=1)[0])
    found = trial.learner.predict(state, trial.episode.query)
    trial.same(found, logits, "a state used after another episode was learned")


def _global_generators() -> dict[str, bytes]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 (read, not drawn from)
    found = {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr((kind, np.asarray(keys).tobytes(), rest)).encode(),
        "random": repr(random.getstate()).encode(),
    }
    if torch.cuda.is_initialized():
        found["torch.cuda"] = torch.cuda.get_rng_state().numpy().tobytes()
    return found


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())


def _memory(learner: torch.nn.Module) -> dict[str, Any]:
    """All that a module holds, by name, as values that can be compared."""
    held = {**dict(learner.named_parameters()), **dict(learner.named_buffers())}
    for prefix, module in learner.named_modules():
        own = {key: value for key, value in vars(module).items() if key not in ("_parameters", "_buffers", "_modules")}
        held.update({f"{prefix}.{key}".lstrip("."): value for key, value in own.items()})
    return {name: _frozen(value, set()) for name, value in held.items()}


def _frozen(value: Any, seen: set[int]) -> Any:
    """The content of a value, apart from the value itself."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if id(value) in seen:
        return "again"
    seen = seen | {id(value)}
    if isinstance(value, dict):
        return [(repr(key), _frozen(item, seen)) for key, item in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_frozen(item, seen) for item in value]
    if hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        return repr(type(value)), _frozen(vars(value), seen)
    return repr(value)

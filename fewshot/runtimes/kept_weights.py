"""Weights laid out for a service: a copy in lower precision, kept for an encoder that is asked again and again."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from episodes.source import StoredSource
from fewshot.embedding.canary import control_items, control_name
from fewshot.embedding.copies import with_weights_laid_out
from fewshot.embedding.forward import Forward
from fewshot.runtimes.stamp import stamp


@dataclass(frozen=True)
class _Kept:
    """For which state of an encoder; None: nothing was made for it yet, or the copy did not compute the same."""

    state: tuple[Any, ...]
    tried: bool = False
    module: nn.Module | None = None


_kept: WeakKeyDictionary[Any, dict[str, _Kept]] = WeakKeyDictionary()


def with_kept_weights(forward: Forward, tower: str, source: StoredSource) -> Forward:
    """The same forward pass on a CPU, by a copy of the network whose weights are in its precision already.

    That changes no bit. It is made at the second call for an encoder, and another one once the encoder was changed (see
    `stamp`). It takes half of the network's memory; in float32, where it would take as much again, there is none.

    Args:
        forward: of few items, as it is.
        tower: of the items.
        source: where they come from.
    """
    encoder = forward.encoder
    if forward.device.type != "cpu" or forward.precision == "float32" or forward.network is not None:
        return forward
    found = stamp(encoder)
    if found is None:
        return forward
    state = (forward.precision, *found)
    known = _kept.setdefault(encoder, {})
    mine = known.get(tower)
    if mine is None or mine.state != state:
        known[tower] = _Kept(state)
        return forward
    if not mine.tried:
        few: Any = control_items(control_name(source, encoder), encoder)[:2]
        made = with_weights_laid_out(forward, tower, lambda: few)
        mine = known[tower] = _Kept(state, True, None if made is forward else made.worker.module)
    if mine.module is None:
        return forward
    made = copy.copy(forward)
    made.worker = copy.copy(forward.worker)
    made.worker.module = mine.module
    return made


def forget_weights(encoder: Any) -> None:
    """Let go of what is kept for an encoder: many items are computed with a copy of their own."""
    _kept.pop(encoder, None)

"""From strategies to plans: which parameters train at which rate, and where the network can be cut."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fewshot.encoders.encoder import Encoder
from fewshot.transfer.body import Anatomy, Body
from fewshot.transfer.cut import Cut
from fewshot.transfer.norms import folded
from fewshot.transfer.settings import Settings
from fewshot.transfer.stages import stages
from fewshot.transfer.strategies import Strategy
from fewshot.transfer.tuning_plan import PhasePlan, StageLine, batch_norm_mode, decayed_rates, stage_lines

_LOG = logging.getLogger("fewshot")
_PREFIX_BYTES = 4 * 2**30  # activations that are kept rather than computed again in every epoch


def plan_phase(
    phase: Strategy, body: Body | None, anatomy: Anatomy, how: Settings, rows: int, width: int, classes: int,
    pretrained: bool,
    model: Encoder,
) -> PhasePlan:  # fmt: skip
    """What one strategy will train.

    Args:
        phase: the strategy.
        body: the network, which is not changed; None where there is none.
        anatomy: its stages.
        how: the settings.
        rows: of the source M.
        width: features D.
        classes: C.
        pretrained: whether the sequence began with the encoder's weights.
        model: the encoder, whose network is shown as a whole where a probe leaves it out.

    Raises:
        ValueError: the strategy finds nothing to train in this network.
    """
    epochs, (rate, head_rate) = how.passes(phase, rows), how.rates(phase)
    title, count, trained = phase.on_top(width, classes, model)
    head = StageLine(title, count, trained, None, head_rate)
    names: frozenset[str] = frozenset()
    rates: dict[str, float] = {}
    lines: tuple[StageLine, ...] = (head,)
    if body is None and model.module is not None:
        size = sum(value.numel() for value in model.module.parameters())
        lines = (StageLine(type(model.module).__name__, size, 0, (width,), 0.0), head)
    if body is not None:
        network = copy.deepcopy(body.network)
        phase.prepare(network, how.seed)
        names = frozenset().union(*(phase.trained(network, anatomy.parts, epoch) for epoch in range(epochs)))
        if not names and not phase.frozen:
            raise ValueError(
                f"{phase!r} trains nothing of {body.encoder.name!r}; 'linear-probe' trains the head alone."
            )
        rates = decayed_rates(anatomy, names, rate, how.layer_decay)
        lines = (*stage_lines(anatomy, network, names, rates), head)
    kept = pretrained and body is not None and folded(body.network)
    mode = batch_norm_mode(how.batch_norm, rows, how.batch_size, pretrained, kept)
    steps = epochs * -(-phase.draws(rows) // how.batch_size)
    return PhasePlan(repr(phase), epochs, steps, lines, names, rates, mode, None, how.averaged(epochs), how.views)


def find_cut(plan: PhasePlan, body: Body, anatomy: Anatomy, example: Any, rows: int, how: Settings) -> Cut | None:
    """The cut before the first stage that trains; None where there is none, or too much to keep behind it."""
    if not plan.names or plan.first == 0 or not how.still or how.prefix is False or body.kind != "images":
        return None
    own = [part.name for part in stages(body.network)]
    try:
        cut = Cut(body.network, own.index(anatomy.parts[plan.first].name), example, run=body)
    except ValueError:
        if how.prefix is True:
            raise
        return None
    size = 4 * math.prod(cut.shape) * rows * max(how.views, 1)
    if how.prefix is True or size <= _PREFIX_BYTES:
        return cut
    if how.views:
        _LOG.warning(
            "the activations of %d views before %r would take %.1f GB, more than the %.0f GB that are kept, so they "
            "are computed anew in every epoch; ask for fewer views, train fewer stages, or keep them with prefix=True.",
            how.views, anatomy.parts[plan.first].name, size / 1e9, _PREFIX_BYTES / 1e9,
        )  # fmt: skip
    return None


def plan_phases(
    phases: Sequence[Strategy], body: Body | None, anatomy: Anatomy, how: Settings, rows: int, width: int, classes: int,
    model: Encoder, example: Any,
) -> list[tuple[PhasePlan, Cut | None]]:  # fmt: skip
    """What each strategy of a sequence will train, and the cut before it where there is one; as `plan_phase`."""
    planned = []
    for phase in phases:
        part = plan_phase(phase, body, anatomy, how, rows, width, classes, phases[0].pretrained, model)
        cut = None if body is None else find_cut(part, body, anatomy, example, rows, how)
        kept = cut is not None or (not part.names and how.still and len(part.lines) > 1)
        planned.append((replace(part, cut=part.first if kept else None), cut))
    return planned

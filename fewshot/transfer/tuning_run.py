"""The run of a fine-tuning: its network and head, its plan, its phases one after the other, its result."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from episodes.source import tower_of
from fewshot.augmentation.views import Views
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.alignment.alignment import Alignment
from fewshot.transfer.alignment.objective import align
from fewshot.transfer.alignment.target import TargetRows
from fewshot.transfer.copying import clones, interpolate
from fewshot.transfer.heads import Head, first_head, linear
from fewshot.transfer.inputs import Inputs
from fewshot.transfer.labelled_rows import LabelledRows, embedding_options, phase_rows
from fewshot.transfer.objective import Objective
from fewshot.transfer.phase import train_phase
from fewshot.transfer.planning import plan_phases
from fewshot.transfer.settings import Settings
from fewshot.transfer.strategies import Strategy
from fewshot.transfer.tuned_encoder import TunedEncoder
from fewshot.transfer.tuning import Tuning, accuracy
from fewshot.transfer.tuning_identity import identity_of, phase_identity
from fewshot.transfer.tuning_plan import TuningPlan
from fewshot.transfer.working_copy import WorkingCopy

_LOG = logging.getLogger("fewshot")


def run(
    given: Encoder,
    rows: LabelledRows,
    phases: Sequence[Strategy],
    written: str,
    how: Settings,
    *,
    device: torch.device,
    cache: Any,
    patience: int | None,
    out: str | os.PathLike[str] | None,
    callbacks: Sequence[Callable[[dict[str, Any]], Any]],
    progress: bool,
    aligned: tuple[TargetRows, Alignment] | None = None,
) -> TunedEncoder:
    """Plan, train phase by phase, and put the result together.

    Args:
        given: the encoder, which is not changed.
        rows: to train on, and held-out ones.
        phases: the strategies.
        written: the same as text.
        how: the settings, checked.
        device: of network and head.
        cache: as in `fine_tune`, like what follows.
        patience: epochs without a better validation after which a phase ends, or None.
        out: folder for the state of the training.
        callbacks: called with the report of each epoch.
        progress: show bars.
        aligned: target rows, and how the network is made to serve them.

    Raises:
        ValueError: the strategies find nothing to train in this network.
    """
    trains = not (how.still and all(phase.frozen for phase in phases))
    working = WorkingCopy(given, tower_of(rows.items), device, trains)
    body, model, origin = working.body, working.model, working.parameters()
    options = embedding_options(how, cache, device, progress)
    inputs = None if body is None else Inputs(rows.items, model, progress)
    example = None if inputs is None else inputs.first(2, device)
    anatomy = working.anatomy(example, phases)
    start = "zero" if not phases[0].pretrained else how.head
    top = first_linear(start, rows.data, model, rows.labels, len(rows.names), options).to(device)
    begun = clones(top)
    count, size = len(rows.labels), (top.in_features, len(rows.names))
    planned = plan_phases(phases, body, anatomy, how, count, *size, model, example)
    plan = TuningPlan(tuple(part for part, _ in planned))
    _LOG.info("fine-tuning %r on %d rows of %d classes\n%s", given.name, count, len(rows.names), plan)

    base = identity_of(given, required=out is not None)
    history = []
    for number, (phase, (part, cut)) in enumerate(zip(phases, planned, strict=True)):
        if body is not None:
            phase.prepare(body.network, how.seed)
        tuning = Tuning(
            body, top, anatomy.parts, part.names, part.batch_norm, cut, features=not part.names and how.still
        ).to(device)
        rows_of = partial(phase_rows, body, cut, tuning.alone, model, how.batch_size, options)
        own = aligned if part.names else None  # where the head trains alone, there is nothing to align
        seen = Views(how.augment, how.seed) if how.views and how.augment is not None else None
        training = rows_of(rows.data, inputs, views=seen, count=how.views)
        objective = phase.objective(how, training, rows.labels, device, model, rows.names)
        if own is not None:
            target = rows_of(own[0].items, Inputs(own[0].items, model, progress))
            objective = align(objective, own[1], target, len(own[0]), top.in_features, part.steps)
        check = None
        if rows.held_out is not None and rows.wanted is not None:
            held_out = rows_of(rows.validation, Inputs(rows.held_out, model, progress))
            check = partial(validated, objective, tuning, held_out, rows.wanted, how.batch_size, device)
        history.append(
            train_phase(
                tuning, phase, part, anatomy, how, objective, origin,
                partial(phase_identity, base, rows, written, how, number, own), check=check, patience=patience,
                out=None if out is None else Path(out) / f"{number}-{phase.name}", device=device,
                callbacks=callbacks, progress=progress,
            )
        )  # fmt: skip
        objective.settle(tuning)
        objective.finish()
        if body is not None:
            phase.finish(body.network)

    if how.wise is not None:
        top.load_state_dict(interpolate(begun, top.state_dict(), how.wise))
    changed = working.finish(how.wise)
    return TunedEncoder(
        model, top.requires_grad_(False), rows.names, base=base, changed=changed, strategy=written, plan=plan,
        history=history, setting="inductive" if aligned is None else aligned[1].setting,
    )  # fmt: skip


def first_linear(kind: str, source: Any, model: Encoder, labels: Tensor, classes: int, options: dict[str, Any]) -> Head:
    """The head before training."""
    from fewshot.embedding import embed

    if kind == "zero" and model.dim is not None:
        weight, bias = torch.zeros(classes, model.dim), torch.zeros(classes)
    else:
        features = embed(source, model, **options).features.float().cpu()  # [M, D]
        weight, bias = first_head(kind, features, labels, classes)
    return linear(weight, bias)


def validated(objective: Objective, tuning: Tuning, *asked: Any) -> float:
    """Accuracy on held-out rows, once the head is what the objective makes of it."""
    objective.settle(tuning)
    return accuracy(tuning, *asked)

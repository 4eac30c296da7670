"""The run of a multi-task training: its network and heads, its plan, its phases one after the other, its result."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from episodes.source import tower_of
from fewshot.encoders.encoder import Encoder
from fewshot.multi_task.heads import TaskHeads
from fewshot.multi_task.objective import TaskObjective
from fewshot.multi_task.result import MultiTask, joined_names, shares_of
from fewshot.multi_task.sampling import Sampling
from fewshot.multi_task.tasks import JoinedRows, same_shapes
from fewshot.multi_task.weighting import Weighting
from fewshot.transfer.heads import linear
from fewshot.transfer.inputs import Inputs
from fewshot.transfer.labelled_rows import LabelledRows, embedding_options, phase_rows
from fewshot.transfer.phase import train_phase
from fewshot.transfer.planning import plan_phases
from fewshot.transfer.settings import Settings
from fewshot.transfer.strategies import Strategy
from fewshot.transfer.tuned_encoder import TunedEncoder
from fewshot.transfer.tuning import Tuning
from fewshot.transfer.tuning_identity import content_of, identity_of
from fewshot.transfer.tuning_plan import TuningPlan
from fewshot.transfer.tuning_run import first_linear
from fewshot.transfer.working_copy import WorkingCopy

_LOG = logging.getLogger("fewshot")


def run(
    given: Encoder,
    tasks: Mapping[str, LabelledRows],
    phases: Sequence[Strategy],
    written: str,
    how: Settings,
    sampling: Sampling,
    weighting: Weighting,
    *,
    spec: str | None,
    device: torch.device,
    cache: Any,
    patience: int | None,
    out: str | os.PathLike[str] | None,
    callbacks: Sequence[Callable[[dict[str, Any]], Any]],
    progress: bool,
) -> MultiTask:
    """Plan, train phase by phase, and put the result together.

    Args:
        given: the encoder, which is not changed.
        tasks: their rows.
        phases: the strategies.
        written: the same as text.
        how: the settings, checked.
        sampling: how often rows of each task come.
        weighting: how losses become one; each phase begins with a copy.
        spec: of the encoder, or None.
        device: of network and heads.
        cache: as in `train_tasks`, like what follows.
        patience: epochs without a better validation after which a phase ends, or None.
        out: folder for the state of the training.
        callbacks: called with the report of each epoch.
        progress: show bars.

    Raises:
        ValueError: the strategies find nothing to train in this network, or rows have different shapes.
    """
    first, *_ = tasks.values()
    trains = not (how.still and all(phase.frozen for phase in phases))
    working = WorkingCopy(given, tower_of(first.items), device, trains)
    body, model = working.body, working.model
    options = embedding_options(how, cache, device, progress)
    inputs = {name: None if body is None else Inputs(rows.items, model, progress) for name, rows in tasks.items()}
    examples = {name: part.first(2, device) for name, part in inputs.items() if part is not None}
    same_shapes(examples)
    example = next(iter(examples.values()), None)
    anatomy = working.anatomy(example, phases)
    start = "zero" if not phases[0].pretrained else how.head
    heads = TaskHeads(
        [first_linear(start, rows.data, model, rows.labels, len(rows.names), options) for rows in tasks.values()]
    ).to(device)
    class_names = {name: rows.names for name, rows in tasks.items()}
    sizes, width = [len(rows.labels) for rows in tasks.values()], heads.stacked()[0].shape[1]
    planned = plan_phases(phases, body, anatomy, how, sum(sizes), width, len(joined_names(class_names)), model, example)
    plan = TuningPlan(tuple(part for part, _ in planned))
    described = ", ".join(f"{name}: {size} rows of {len(class_names[name])} classes"
                          for name, size in zip(tasks, sizes, strict=True))  # fmt: skip
    _LOG.info("training %r on %d tasks (%s)\n%s", given.name, len(tasks), described, plan)

    base = identity_of(given, required=out is not None)
    history, weigher = [], weighting
    for number, (phase, (part, cut)) in enumerate(zip(phases, planned, strict=True)):
        if body is not None:
            phase.prepare(body.network, how.seed)
        alone = not part.names and how.still
        held: Any = heads  # in the place of the one head of a fine-tuning
        tuning = Tuning(body, held, anatomy.parts, part.names, part.batch_norm, cut, features=alone).to(device)
        rows_of = partial(phase_rows, body, cut, tuning.alone, model, how.batch_size, options)
        joined = JoinedRows([rows_of(rows.data, inputs[name]) for name, rows in tasks.items()], sizes)
        held_out = {
            place: (rows_of(rows.validation, Inputs(rows.held_out, model, progress)), rows.wanted)
            for place, rows in enumerate(tasks.values())
            if rows.held_out is not None and rows.wanted is not None
        }
        weigher = copy.deepcopy(weighting)
        labels = [rows.labels for rows in tasks.values()]
        objective = TaskObjective(how, joined, labels, sampling, weigher, part.epochs, anatomy.parts, device)
        history.append(
            train_phase(
                tuning, phase, part, anatomy, how, objective, {},
                partial(_identity, base, tasks, written, how, sampling, weighting, number),
                check=partial(mean_accuracy, tuning, held_out, how.batch_size, device) if held_out else None,
                patience=patience, out=None if out is None else Path(out) / f"{number}-{phase.name}", device=device,
                callbacks=callbacks, progress=progress,
            )
        )  # fmt: skip
        if body is not None:
            phase.finish(body.network)

    changed = working.finish()
    encoder = TunedEncoder(
        model, linear(*heads.stacked()).requires_grad_(False), joined_names(class_names), base=base, changed=changed,
        strategy=f"{written} on {' + '.join(tasks)}", plan=plan, history=history, setting="multi-task",
    )  # fmt: skip
    return MultiTask(encoder, class_names, spec=spec, weights=shares_of(weigher.weights(), list(tasks)))


def mean_accuracy(
    tuning: Tuning, held_out: Mapping[int, tuple[Any, Tensor]], batch: int, device: torch.device
) -> float:
    """Mean over tasks of the share of rows whose largest logit is that of their label, in evaluation mode.

    Args:
        tuning: network and heads.
        held_out: rows and labels by number of the task.
        batch: rows of a forward pass.
        device: of network and heads.
    """
    heads: TaskHeads = tuning.head  # type: ignore[assignment]
    tuning.eval()
    found = []
    with torch.no_grad():
        for task, (rows, labels) in held_out.items():
            parts = torch.arange(len(labels)).split(batch)
            answers = [heads.logits(task, tuning(rows.take(part, device))).argmax(1).cpu() for part in parts]
            found.append(float((torch.cat(answers) == labels).double().mean()))
    return sum(found) / len(found)


def _identity(
    base: str, tasks: Mapping[str, LabelledRows], written: str, how: Settings, sampling: Sampling,
    weighting: Weighting, number: int,
) -> dict[str, Any]:  # fmt: skip
    """Encoder, tasks, strategy, sampling, weighting, settings and the number of the phase, in JSON."""
    contents = {
        name: [None if part is None else content_of(part) for part in (rows.items, rows.held_out)]
        for name, rows in tasks.items()
    }
    return {
        "encoder": base, "tasks": contents, "order": list(tasks), "strategy": written, "sampling": repr(sampling),
        "weighting": repr(weighting), "settings": how.identity(), "phase": number,
    }  # fmt: skip

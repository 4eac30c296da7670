"""Training one phase of a fine-tuning by the one training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewshot.meta.loop import train
from fewshot.meta.plan import Monitoring, Plan
from fewshot.transfer.averaging import Averaged, renew_statistics
from fewshot.transfer.body import Anatomy
from fewshot.transfer.objective import Objective, l2_sp_penalty
from fewshot.transfer.settings import Settings
from fewshot.transfer.strategies import Strategy
from fewshot.transfer.tuning import Tuning
from fewshot.transfer.tuning_plan import PhasePlan


def train_phase(
    tuning: Tuning,
    phase: Strategy,
    plan: PhasePlan,
    anatomy: Anatomy,
    how: Settings,
    objective: Objective,
    origin: dict[str, Tensor],
    identity: Callable[[], dict[str, Any]],
    *,
    check: Callable[[], float] | None,
    patience: int | None,
    out: Path | None,
    device: torch.device,
    callbacks: Sequence[Callable[[dict[str, Any]], Any]],
    progress: bool,
) -> list[dict[str, Any]]:
    """Train what a plan says; returns the reports of the epochs.

    Args:
        tuning: network and head, trained in place.
        phase: the strategy, its network prepared.
        plan: what it trains.
        anatomy: stages of the network.
        how: the settings.
        objective: of the steps, on the rows that it holds.
        origin: parameters of the network where L2-SP draws them to.
        identity: of data, encoder and settings; asked only where there is a folder.
        check: gives the accuracy on held-out rows.
        patience: as in `fine_tune`, like what follows.
        out: folder of this phase.
        device: of network and head.
        callbacks: called with each report.
        progress: show a bar.
    """
    per_epoch = plan.steps // plan.epochs
    tuning.objective = objective.to(device)
    average = Averaged(tuning) if plan.averaged else None
    first = plan.epochs - plan.averaged  # epoch at whose end the first weights are averaged
    order: dict[int, tuple[Tensor, ...]] = {}  # of the present epoch: its rows, in parts of nearly equal size

    def compute_loss(step: int, turn: int) -> tuple[Tensor, Tensor]:
        epoch, part = divmod(step, per_epoch)
        if epoch not in order:
            order.clear()
            order[epoch] = objective.parts(epoch, per_epoch)
            # Checkpoints are written where an epoch ends, so a resumed run comes by here with the very same weights.
            if average is not None and epoch > first:
                average.add()
            if tuning.body is not None:
                tuning.choose(phase.trained(tuning.body.network, anatomy.parts, epoch))
        loss, accuracy = objective(tuning, order[epoch][part], step)
        if how.penalty is not None:
            loss = loss + l2_sp_penalty(tuning.training_now(), origin, tuning.head.parameters(), *how.penalty)
        return loss, accuracy

    head_rate = plan.lines[-1].rate
    updates = Plan(
        plan.steps, min(how.batch_size, objective.count), 1, how.optimizer, max(plan.rates.values(), default=head_rate),
        how.weight_decay, how.schedule, round(how.warm_up * plan.steps), how.clip, how.precision, how.seed,
    )  # fmt: skip
    updates.check()
    groups = tuning.groups(plan.rates, head_rate, 0.0 if how.penalty is not None else how.weight_decay)
    watch = Monitoring(per_epoch, check, 1, patience, out, callbacks, progress, "rows")
    watch.check()
    training = train(
        tuning if average is None else average, tuning, compute_loss, updates, watch, device,
        lambda: {**identity(), "plan": asdict(updates)}, groups, first * per_epoch if plan.averaged else None,
    )  # fmt: skip
    if average is not None:
        average.add()
        average.put()
        if tuning.body is not None:  # a run that was complete has not come to its last epoch here
            tuning.choose(phase.trained(tuning.body.network, anatomy.parts, plan.epochs - 1))
        renew_statistics(tuning, objective.inputs(plan.epochs, per_epoch))
    tuning.objective = None
    return training.history

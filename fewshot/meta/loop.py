"""The one training loop: updates, checkpoints, validation, reports; the loss of a step is given by a function."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from episodes.evaluation import evaluate
from episodes.identity import canonical
from episodes.progress import progress_bar
from fewshot.meta.checkpoint import Checkpoints
from fewshot.meta.plan import OPTIMIZERS, Monitoring, Plan, Training
from fewshot.meta.resuming import resume
from fewshot.meta.schedule import rate_at
from fewshot.randomness import seed_layers, seeded


def train(
    trained: nn.Module,
    learner: nn.Module,
    compute_loss: Callable[[int, int], tuple[Tensor, Tensor]],
    plan: Plan,
    monitoring: Monitoring,
    device: torch.device,
    identity: Callable[[], dict[str, Any]],
    groups: Sequence[dict[str, Any]] | None = None,
    hold: int | None = None,
) -> Training:
    """Run a plan from its beginning, or resume it.

    Whatever layers draw from torch's global generators depends on seed and step alone, and leaves the caller's random
    numbers as they were.

    Args:
        trained: the module whose parameters are updated; it holds the learner and what else training needs.
        learner: the module that is validated, and whose weights are written.
        compute_loss: (step, forward pass of that step) -> loss and accuracy.
        plan: the updates.
        monitoring: reports, validation, checkpoints.
        device: on which the weights are.
        identity: of the training, in JSON; a resumed run must have the same. Computed only where there are checkpoints.
        groups: of parameters, each with its ``lr`` and ``weight_decay``, which follow the plan's schedule; by default
            all parameters with the plan's.
        hold: step from which on the rates stay as they are, warm-up aside; None: none.
    """
    options: dict[str, Any] = {"momentum": 0.9} if plan.optimizer == "sgd" else {}
    updates = OPTIMIZERS[plan.optimizer](
        groups or trained.parameters(), lr=plan.lr, weight_decay=plan.weight_decay, **options
    )
    rates = [group["lr"] for group in updates.param_groups]
    last = plan.steps if hold is None else max(hold, plan.warm_up)  # step whose rates are those of all after it
    scaler = torch.amp.GradScaler(device.type, enabled=plan.precision == "float16")
    training, stale, best = Training(learner), 0, {}
    files = Checkpoints(Path(monitoring.out)) if monitoring.out is not None else None
    if files is not None:
        known = json.loads(canonical(identity()))
        stale = resume(files, known, plan, monitoring, training, trained, updates, scaler)
    window: list[Tensor] = []  # loss and accuracy of each forward pass, read when there is a report
    began, seen = time.perf_counter(), training.step
    with progress_bar(plan.steps, training.step, "steps", show=monitoring.progress) as bar:
        while training.step < plan.steps and (monitoring.patience is None or stale < monitoring.patience):
            for group, lr in zip(updates.param_groups, rates, strict=True):
                group["lr"] = rate_at(min(training.step, last), plan.steps, lr, plan.schedule, plan.warm_up)
            window += _update(trained, compute_loss, plan, training.step, updates, scaler, device)
            training.step += 1
            bar.update(1)
            if training.step % monitoring.every and training.step < plan.steps:
                continue
            _check_finite(window, training.step - 1, plan.accumulate)
            loss_now, accuracy_now = torch.stack(window).cpu().double().mean(0).tolist()
            window.clear()
            seconds = time.perf_counter() - began
            report: dict[str, Any] = {
                "step": training.step, "loss": loss_now, "accuracy": accuracy_now, "lr": updates.param_groups[0]["lr"],
                f"{monitoring.unit}_per_second": (training.step - seen) * plan.batch * plan.accumulate / seconds,
            }  # fmt: skip
            if monitoring.validation is not None:
                with seeded(device, plan.seed, training.step, 1):
                    report["validation"] = _validate(learner, monitoring, device)
                better = training.best is None or report["validation"] > training.best
                stale = 0 if better else stale + 1
                if better:
                    training.best, training.best_step = report["validation"], training.step
                    if files is None:
                        best = {name: value.clone() for name, value in learner.state_dict().items()}
            training.history.append(report)
            if files is not None:
                files.save(
                    trained, learner, updates, step=training.step, steps=plan.steps, best=training.best,
                    best_step=training.best_step, stale=stale, history=training.history, scaler=scaler.state_dict(),
                )  # fmt: skip
            for callback in monitoring.callbacks:
                callback(report)
            bar.set_postfix_str(f"loss {report['loss']:.3f}, accuracy {100 * report['accuracy']:.1f} %")
    if training.best is not None:
        if files is not None:
            files.put_best(learner)
        else:
            learner.load_state_dict(best)
    learner.eval()
    return training


def _update(
    trained: nn.Module,
    compute_loss: Callable[[int, int], tuple[Tensor, Tensor]],
    plan: Plan,
    step: int,
    updates: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    device: torch.device,
) -> list[Tensor]:
    """One update of the weights; returns loss and accuracy of each of its forward passes, on the device."""
    passes: list[Tensor] = []
    trained.train()
    seed_layers(trained, plan.seed, step)
    updates.zero_grad(set_to_none=True)
    with seeded(device, plan.seed, step):
        for turn in range(plan.accumulate):
            with _precision(plan, device):
                loss, accuracy = compute_loss(step, turn)
            passes.append(torch.stack([loss.detach().float(), accuracy.detach().float()]))
            if device.type == "cpu":  # elsewhere it would wait for the device in every step
                _check_finite(passes, step, plan.accumulate)
            scaler.scale(loss / plan.accumulate).backward()
    if plan.clip is not None:
        scaler.unscale_(updates)
        nn.utils.clip_grad_norm_(trained.parameters(), plan.clip)
    scaler.step(updates)
    scaler.update()
    return passes


def _validate(learner: nn.Module, monitoring: Monitoring, device: torch.device) -> float:
    assert monitoring.validation is not None
    if callable(monitoring.validation):
        return monitoring.validation()
    results = evaluate(
        {"learner": learner},
        *monitoring.validation,
        episodes=monitoring.validation_episodes,
        device=device,
        progress=False,
    )
    return float(results["learner"].mean)


def _precision(plan: Plan, device: torch.device) -> Any:
    if plan.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, plan.precision))


def _check_finite(window: list[Tensor], last: int, passes: int) -> None:
    losses = torch.stack(window[-1:] if window[-1].device.type == "cpu" else window)[:, 0]
    wrong = (~losses.isfinite()).nonzero()
    if len(wrong):
        back = (len(losses) - 1 - int(wrong[0])) // passes
        value, step = float(losses[wrong[0]]), last - back
        raise FloatingPointError(f"the loss is {value} at step {step}; lower lr=, or clip the gradient by clip=1.0.")

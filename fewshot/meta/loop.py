"""The one training loop: updates, checkpoints, validation, reports; what a step learns from is told by a function."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from episodes.evaluation import evaluate
from episodes.progress import progress_bar
from fewshot.meta.checkpoint import State, load_weights, save_weights
from fewshot.meta.plan import OPTIMISERS, Plan, Training, Watch
from fewshot.meta.schedule import rate_at

_LOG = logging.getLogger("fewshot")


def train(
    trained: nn.Module,
    learner: nn.Module,
    look: Callable[[int, int], tuple[Tensor, Tensor]],
    plan: Plan,
    watch: Watch,
    device: torch.device,
    identity: dict[str, Any],
    groups: Sequence[dict[str, Any]] | None = None,
) -> Training:
    """Run a plan, from its beginning or from where it was left.

    Args:
        trained: whose parameters are updated; it holds the learner and whatever training needs besides.
        learner: what is validated, and whose weights are written.
        look: (step, forward pass of that step) -> loss and accuracy.
        plan: the updates.
        watch: reports, validation, checkpoints.
        device: on which the weights are.
        identity: of learner and data, in JSON; a resumed run must have the same.
        groups: of parameters, each with its ``lr`` and ``weight_decay``, which follow the plan's schedule; by default
            all parameters with the plan's.
    """
    options: dict[str, Any] = {"momentum": 0.9} if plan.optimiser == "sgd" else {}
    updates = OPTIMISERS[plan.optimiser](
        groups or trained.parameters(), lr=plan.rate, weight_decay=plan.decay, **options
    )
    rates = [group["lr"] for group in updates.param_groups]
    scaler = torch.amp.GradScaler(device.type, enabled=plan.precision == "float16")
    training, stale, best = Training(learner), 0, {}
    state = State(Path(watch.out)) if watch.out is not None else None
    identity = json.loads(json.dumps({**identity, "plan": asdict(plan)}))
    if state is not None and (content := state.read()) is not None:
        _same(content["identity"], identity, state.folder)
        state.restore(content["step"], trained, updates)
        training.step, training.best, training.best_step = content["step"], content["best"], content["best_step"]
        training.history, stale = content["history"], content["stale"]
        scaler.load_state_dict(content["scaler"])
        _LOG.info("training goes on at step %d of %d.", training.step, plan.steps)
    window: list[Tensor] = []  # loss and accuracy of each forward pass, read when there is a report
    began, seen = time.perf_counter(), training.step
    with progress_bar(plan.steps, training.step, "steps", show=watch.progress) as bar:
        while training.step < plan.steps and (watch.patience is None or stale < watch.patience):
            for group, rate in zip(updates.param_groups, rates, strict=True):
                group["lr"] = rate_at(training.step, plan.steps, rate, plan.schedule, plan.warm_up)
            trained.train()
            _seed_layers(trained, plan.first + training.step)
            updates.zero_grad(set_to_none=True)
            for turn in range(plan.accumulate):
                with _precision(plan, device):
                    loss, accuracy = look(training.step, turn)
                window.append(torch.stack([loss.detach().float(), accuracy.detach().float()]))
                if device.type == "cpu":  # elsewhere it would wait for the device in every step
                    _check_finite(window, training.step, plan.accumulate)
                scaler.scale(loss / plan.accumulate).backward()
            if plan.clip is not None:
                scaler.unscale_(updates)
                nn.utils.clip_grad_norm_(trained.parameters(), plan.clip)
            scaler.step(updates)
            scaler.update()
            training.step += 1
            bar.update(1)
            if training.step % watch.every and training.step < plan.steps:
                continue
            _check_finite(window, training.step - 1, plan.accumulate)
            loss_now, accuracy_now = torch.stack(window).cpu().double().mean(0).tolist()
            window.clear()
            seconds = time.perf_counter() - began
            report: dict[str, Any] = {
                "step": training.step, "loss": loss_now, "accuracy": accuracy_now,
                "rate": updates.param_groups[0]["lr"],
                f"{watch.unit}_per_second": (training.step - seen) * plan.batch * plan.accumulate / seconds,
            }  # fmt: skip
            if watch.validation is not None:
                report["validation"] = _validate(learner, watch, device)
                better = training.best is None or report["validation"] > training.best
                stale = 0 if better else stale + 1
                if better:
                    training.best, training.best_step = report["validation"], training.step
                    if state is not None:
                        save_weights(learner, state.folder / "best.safetensors", step=str(training.step))
                    else:
                        best = {name: value.clone() for name, value in learner.state_dict().items()}
            training.history.append(report)
            if state is not None:
                state.save(trained, learner, updates, {
                    "step": training.step, "best": training.best, "best_step": training.best_step, "stale": stale,
                    "history": training.history, "scaler": scaler.state_dict(), "identity": identity,
                })  # fmt: skip
            for listener in watch.callbacks:
                listener(report)
            bar.set_postfix_str(f"loss {report['loss']:.3f}, accuracy {100 * report['accuracy']:.1f} %")
    if training.best is not None:
        if state is not None:
            load_weights(learner, state.folder / "best.safetensors")
        else:
            learner.load_state_dict(best)
    learner.eval()
    return training


def _validate(learner: nn.Module, watch: Watch, device: torch.device) -> float:
    assert watch.validation is not None
    if callable(watch.validation):
        return watch.validation()
    marks = evaluate(
        {"learner": learner}, *watch.validation, episodes=watch.validation_episodes, device=device, progress=False
    )
    return float(marks["learner"].mean)


def _precision(plan: Plan, device: torch.device) -> Any:
    if plan.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, plan.precision))


def _seed_layers(model: nn.Module, seed: int) -> None:
    """DropBlock and the like draw anew in each step, and the same when resumed."""
    for part in model.modules():
        own = getattr(part, "generator", None)
        if isinstance(own, torch.Generator):
            own.manual_seed(seed)


def _check_finite(window: list[Tensor], last: int, passes: int) -> None:
    losses = torch.stack(window[-1:] if window[-1].device.type == "cpu" else window)[:, 0]
    wrong = (~losses.isfinite()).nonzero()
    if len(wrong):
        back = (len(losses) - 1 - int(wrong[0])) // passes
        value, step = float(losses[wrong[0]]), last - back
        raise FloatingPointError(f"the loss is {value} at step {step}; lower rate=, or clip the gradient by clip=1.0.")


def _same(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    for name, value in now.items():
        if before.get(name) != value:
            raise ValueError(
                f"{str(folder)!r} holds a training with another {name}: {before.get(name)} there, {value} now. "
                "Take another folder, or the same arguments."
            )

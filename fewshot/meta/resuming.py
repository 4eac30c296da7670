"""Resuming a training: whether it is the same one, and from which step."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from episodes.identity import digest
from fewshot.meta.checkpoint import BEST, LAST, Checkpoints
from fewshot.meta.identity import refuse_another
from fewshot.meta.plan import Monitoring, Plan, Training
from fewshot.meta.weights import tensors_of

_LOG = logging.getLogger("fewshot")


def resume(
    files: Checkpoints,
    identity: dict[str, Any],
    plan: Plan,
    monitoring: Monitoring,
    training: Training,
    trained: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> int:
    """Restore the state of the training in this folder, if there is one; else use the folder for a new one.

    Returns:
        Reports in a row without a better validation.

    Raises:
        ValueError: the folder holds another training, or one that cannot be resumed with these arguments; the message
            names the reason.
    """
    content = files.read()
    if content is None or content["step"] == 0:
        files.begin(identity, plan.steps, training.learner)
        return 0
    refuse_another(content["identity"], identity, files.folder)
    _check_start(files, training.learner)
    _check_length(content, plan, training.learner, str(files.folder))
    files.restore(trained, training.learner, optimizer)
    training.step, training.best, training.best_step = content["step"], content["best"], content["best_step"]
    training.history = content["history"]
    if scaler.is_enabled():
        try:
            scaler.load_state_dict(content["scaler"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{str(files.folder / 'state.json')!r}: the field 'scaler' is wrong ({error}).") from None
    _check_patience(training.history, monitoring.patience, str(files.folder))
    _LOG.info("training resumes at step %d of %d.", training.step, plan.steps)
    return int(content["stale"])


def _check_start(files: Checkpoints, learner: nn.Module) -> None:
    """A learner must come with the weights that the training began with, or with those that it led to."""
    known = [files.content[name] for name in ("start", "last_weights", "best_weights")]
    if digest(tensors_of(learner)) not in known:
        raise ValueError(
            f"{str(files.folder)!r} holds a training that began with other weights than this learner has. To resume "
            f"it, give the learner as a spec string, seed torch before it is made, or read {LAST!r} into it first "
            "(load_weights); for another training, take another folder."
        )


def _check_length(content: dict[str, Any], plan: Plan, learner: nn.Module, folder: str) -> None:
    before = content["steps"]
    if plan.steps == before:
        return
    if plan.steps < content["step"]:
        raise ValueError(
            f"{folder!r} holds a training that has done {content['step']} steps, but steps={plan.steps}; take another "
            "folder, or at least as many steps."
        )
    changes = f"with steps={plan.steps} each of the steps done would have been another than with steps={before}"
    advice = (
        f"Begin with its weights instead ({LAST!r} or {BEST!r}; load_weights, or --weights) in another folder; "
        "trainings at a constant rate can be made longer."
    )
    if plan.schedule != "constant":
        raise ValueError(
            f"{folder!r}: schedule={plan.schedule!r} lays the rate out over all steps: {changes}. {advice}"
        )
    if any(hasattr(part, "share_done") for part in learner.modules()):
        raise ValueError(f"{folder!r}: {learner!r} changes over the course of training: {changes}. {advice}")
    _LOG.info("training was of %d steps; now it is of %d.", before, plan.steps)


def _check_patience(history: list[dict[str, Any]], patience: int | None, folder: str) -> None:
    """Less patience than before would have ended the training earlier, with other weights."""
    best, stale = -1.0, 0
    for number, report in enumerate(history):
        better = report.get("validation", -1.0) > best
        best, stale = max(best, report.get("validation", -1.0)), 0 if better else stale + 1
        if patience is not None and best >= 0 and stale >= patience and number < len(history) - 1:
            raise ValueError(
                f"{folder!r} holds a training that went on beyond step {report['step']}, where patience={patience} "
                "would have ended it; take another folder, or as much patience as before."
            )

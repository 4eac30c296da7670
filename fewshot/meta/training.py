"""`meta_train`: the one training loop."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes.episode import Episode
from episodes.evaluation import evaluate
from episodes.progress import progress_bar
from episodes.sampler import Draw
from episodes.source import Source
from fewshot.learners import load_learner
from fewshot.meta.checkpoint import State, load_weights, save_weights
from fewshot.meta.schedule import SCHEDULES, rate_at

_LOG = logging.getLogger("fewshot")
OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@dataclass
class Training:
    """What a training was and what came of it.

    Attributes:
        learner: trained, with the best weights where there was validation, else the last.
        step: meta-updates done.
        best: highest validation accuracy, or None.
        best_step: when.
        history: one dict per report: step, loss, accuracy, seconds, episodes per second, validation accuracy.
    """

    learner: nn.Module
    step: int = 0
    best: float | None = None
    best_step: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Plan:
    """All that decides the weights; a resumed run must have the same."""

    steps: int
    batch: int
    accumulate: int
    optimiser: str
    rate: float
    decay: float
    schedule: str
    warm_up: int
    clip: float | None
    precision: str
    first: int

    def check(self) -> None:
        if min(self.steps, self.batch, self.accumulate) < 1 or self.rate <= 0 or self.decay < 0 or self.warm_up < 0:
            raise ValueError(
                f"steps={self.steps}, batch={self.batch}, accumulate={self.accumulate}, rate={self.rate}, "
                f"decay={self.decay}, warm_up={self.warm_up}; the first three at least 1, the rate positive, the "
                "others not negative."
            )
        for name, value, known in (("optimiser", self.optimiser, tuple(OPTIMISERS)),
                                   ("schedule", self.schedule, SCHEDULES),
                                   ("precision", self.precision, ("float32", "bfloat16", "float16"))):  # fmt: skip
            if value not in known:
                raise ValueError(f"{name}={value!r}; it must be one of {', '.join(known)}.")


def meta_train(
    learner: Any,
    source: Source,
    sampler: Any,
    *,
    steps: int = 1000,
    batch: int = 4,
    accumulate: int = 1,
    optimiser: str = "adam",
    rate: float = 1e-3,
    decay: float = 0.0,
    schedule: str = "constant",
    warm_up: int = 0,
    clip: float | None = None,
    precision: str = "float32",
    validation: tuple[Source, Any] | None = None,
    validation_episodes: int = 200,
    every: int = 100,
    patience: int | None = None,
    out: str | os.PathLike[str] | None = None,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    callbacks: Sequence[Callable[[dict[str, Any]], Any]] = (),
    device: torch.device | str = "auto",
    first: int = 0,
    progress: bool = True,
) -> Training:
    """Train a learner's weights on episodes: their queries' cross-entropy, or the loss that the learner defines.

    Step k learns from episodes ``first + k B, ..., first + (k + 1) B - 1`` of the sampler, B = batch x accumulate; so a
    run depends on its arguments alone, and one that was killed goes on where it was, to the very same weights (on a
    CPU). A learner given as a spec string begins with the same weights, too.

    Args:
        learner: with weights; a spec string (``"conv4 | prototypes"``) or a `Learner`. It is trained in place.
        source: rows to train on; moved to the device once.
        sampler: over the labels of that source.
        steps: updates of the weights.
        batch: episodes of one forward pass.
        accumulate: forward passes of one update.
        optimiser: ``"adam"``, ``"adamw"`` or ``"sgd"`` (momentum 0.9).
        rate: of the optimiser.
        decay: of the weights.
        schedule: of the rate: ``"constant"``, ``"cosine"`` or ``"linear"``.
        warm_up: steps over which the rate rises.
        clip: longest gradient, or None.
        precision: of the forward pass; ``"bfloat16"`` and ``"float16"`` by autocast (loss scaled for the latter).
        validation: rows and sampler of classes that are neither trained on nor tested.
        validation_episodes: how many.
        every: steps between reports, validations and checkpoints.
        patience: reports without a better validation after which training ends, or None.
        out: folder for ``best.safetensors``, ``last.safetensors``, the state, and ``log.jsonl``; a run that finds its
            state there goes on with it.
        augment: (rows ``[B, R, *x]``, generator) -> rows; the generator is seeded by the step.
        callbacks: called with each report.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        first: number of the first episode.
        progress: show a bar on a terminal.

    Raises:
        ValueError: the learner has no weights, an argument is out of range, or `out` holds another training.
        FloatingPointError: the loss is not finite; the message says at which step.
    """
    with torch.random.fork_rng(enabled=isinstance(learner, str)):
        if isinstance(learner, str):  # modules draw their first weights from the global generator, which is put back
            torch.manual_seed(first)
        model = load_learner(learner)
    plan = _Plan(steps, batch, accumulate, optimiser, rate, decay, schedule, warm_up, clip, precision, first)
    plan.check()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"{model!r} has no weights to train; put a network in front of it: 'conv4 | {model!r}'.")
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else torch.device(device)
    model.to(place)
    rows = source.to(place) if hasattr(source, "to") else source
    options: dict[str, Any] = {"momentum": 0.9} if optimiser == "sgd" else {}
    updates = OPTIMISERS[optimiser](model.parameters(), lr=rate, weight_decay=decay, **options)
    scaler = torch.amp.GradScaler(place.type, enabled=precision == "float16")
    training, stale = Training(model), 0
    state = State(Path(out)) if out is not None else None
    identity = {
        "learner": repr(model),
        "plan": asdict(plan),
        "sampler": _recipe(sampler),
        "source": source.fingerprint(),
    }
    identity = json.loads(json.dumps(identity))
    if state is not None and (content := state.restore(model, updates)) is not None:
        _same(content["identity"], identity, state.folder)
        training.step, training.best, training.best_step = content["step"], content["best"], content["best_step"]
        training.history, stale = content["history"], content["stale"]
        scaler.load_state_dict(content["scaler"])
        _LOG.info("training goes on at step %d of %d.", training.step, steps)
    window: list[tuple[float, float]] = []
    began, seen = time.perf_counter(), training.step
    with progress_bar(steps, training.step, "steps", show=progress) as bar:
        while training.step < steps and (patience is None or stale < patience):
            step = training.step
            for group in updates.param_groups:
                group["lr"] = rate_at(step, steps, rate, schedule, warm_up)
            loss, accuracy = _update(model, rows, sampler, updates, scaler, plan, step, place, augment)
            window.append((loss, accuracy))
            training.step = step + 1
            bar.update(1)
            if training.step % every and training.step < steps:
                continue
            seconds = time.perf_counter() - began
            report = {
                "step": training.step,
                "loss": sum(pair[0] for pair in window) / len(window),
                "accuracy": sum(pair[1] for pair in window) / len(window),
                "rate": updates.param_groups[0]["lr"],
                "episodes_per_second": (training.step - seen) * batch * accumulate / seconds,
            }
            window.clear()
            if validation is not None:
                score = evaluate(
                    {"learner": model}, *validation, episodes=validation_episodes, device=place, progress=False
                )
                report["validation"] = score["learner"].mean
                better = training.best is None or report["validation"] > training.best
                stale = 0 if better else stale + 1
                if better:
                    training.best, training.best_step = report["validation"], training.step
                    if state is not None:
                        save_weights(model, state.folder / "best.safetensors", step=str(training.step))
                    else:
                        best = {name: value.clone() for name, value in model.state_dict().items()}
            training.history.append(report)
            if state is not None:
                state.save(model, updates, {
                    "step": training.step, "best": training.best, "best_step": training.best_step, "stale": stale,
                    "history": training.history, "scaler": scaler.state_dict(), "identity": identity,
                })  # fmt: skip
                log = "".join(json.dumps(entry) + "\n" for entry in training.history)
                (state.folder / "log.jsonl").write_text(log, encoding="utf-8")
            for listener in callbacks:
                listener(report)
            bar.set_postfix_str(f"loss {report['loss']:.3f}, accuracy {100 * report['accuracy']:.1f} %")
    if training.best is not None:
        if state is not None:
            load_weights(model, state.folder / "best.safetensors")
        else:
            model.load_state_dict(best)
    model.eval()
    return training


def _update(
    model: nn.Module,
    source: Source,
    sampler: Any,
    updates: torch.optim.Optimizer,
    scaler: Any,
    plan: _Plan,
    step: int,
    device: torch.device,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None,
) -> tuple[float, float]:
    """One step of the weights; loss and accuracy of its episodes."""
    model.train()
    generator = torch.Generator().manual_seed(plan.first + step)
    for part in model.modules():  # DropBlock and the like draw anew each step, and the same when resumed
        own = getattr(part, "generator", None)
        if isinstance(own, torch.Generator):
            own.manual_seed(plan.first + step)
    updates.zero_grad(set_to_none=True)
    losses, accuracies = [], []
    for turn in range(plan.accumulate):
        drawn = sampler.draw(plan.first + (step * plan.accumulate + turn) * plan.batch, plan.batch)
        episode, targets = gather(source, drawn, device, augment, generator)
        autocast = (
            torch.autocast(device.type, getattr(torch, plan.precision))
            if plan.precision != "float32"
            else nullcontext()
        )
        with autocast, _numbered_step(model, step, plan.steps):
            loss, logits = episode_loss(model, episode, targets)
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(
                f"the loss is {float(loss.detach())} at step {step}; lower rate=, or clip the gradient by clip=1.0."
            )
        scaler.scale(loss / plan.accumulate).backward()
        losses.append(float(loss.detach()))
        marked = targets >= 0
        accuracies.append(float(((logits.argmax(-1) == targets) & marked).sum() / marked.sum().clamp(min=1)))
    if plan.clip is not None:
        scaler.unscale_(updates)
        nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
    scaler.step(updates)
    scaler.update()
    return sum(losses) / len(losses), sum(accuracies) / len(accuracies)


def episode_loss(model: nn.Module, episode: Episode, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The learner's own ``meta_loss(episode, targets)``, else the queries' mean cross-entropy; and the logits."""
    own = getattr(model, "meta_loss", None)
    if own is not None:
        loss, logits = own(episode, targets)
        return loss, logits
    logits = model(episode)
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-1), logits


def gather(
    source: Source,
    drawn: Draw,
    device: torch.device,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Episode, Tensor]:
    """Drawn episodes with their rows, and the answer key with -1 for what is not marked."""
    rows = source[drawn.rows].to(device)
    if augment is not None:
        rows = augment(rows, generator or torch.Generator())
    cut, end = drawn.support.shape[1], drawn.support.shape[1] + drawn.query.shape[1]
    episode = Episode(
        rows[:, :cut], drawn.labels.to(device), rows[:, cut:end], drawn.classes.shape[1], ids=drawn.ids.to(device),
        unlabelled=None if drawn.unlabelled is None else rows[:, end:],
    )  # fmt: skip
    return episode, drawn.targets.clamp(min=-1).to(device)


@contextmanager
def _numbered_step(model: nn.Module, step: int, steps: int) -> Iterator[None]:
    """Tells learners that change over training (`share_done`) how far it is."""
    parts = [part for part in model.modules() if hasattr(part, "share_done")]
    for part in parts:
        part.share_done = step / steps  # type: ignore[assignment]
    try:
        yield
    finally:
        for part in parts:
            part.share_done = 1.0  # type: ignore[assignment]


def _recipe(sampler: Any) -> Any:
    recipe = getattr(sampler, "recipe", None)
    return recipe() if callable(recipe) else repr(sampler)


def _same(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    for name, value in now.items():
        if before.get(name) != value:
            raise ValueError(
                f"{str(folder)!r} holds a training with another {name}: {before.get(name)} there, {value} now. "
                "Take another folder, or the same arguments."
            )

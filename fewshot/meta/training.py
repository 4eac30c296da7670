"""`meta_train`: learning from episodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes.device import choose_device
from episodes.draw import Draw
from episodes.episode import Episode
from episodes.source import Source
from fewshot.augmentation.loading import load_augmentation
from fewshot.meta.identity import training_identity
from fewshot.meta.loop import train
from fewshot.meta.plan import Monitoring, Plan, Training
from fewshot.meta.rows import decoded, on_device, take
from fewshot.meta.start import seeded_learner
from fewshot.renamed import renamed


@renamed(rate="lr", decay="weight_decay", optimiser="optimizer")
def meta_train(
    learner: Any,
    source: Source,
    sampler: Any,
    *,
    steps: int = 1000,
    batch: int = 4,
    accumulate: int = 1,
    optimizer: str = "adam",
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    warm_up: int = 0,
    clip: float | None = None,
    precision: str = "float32",
    validation: tuple[Source, Any] | None = None,
    validation_episodes: int = 200,
    every: int = 100,
    patience: int | None = None,
    out: str | os.PathLike[str] | None = None,
    augment: str | Callable[[Tensor, torch.Generator], Tensor] | None = None,
    callbacks: Sequence[Callable[[dict[str, Any]], Any]] = (),
    device: torch.device | str = "auto",
    first: int = 0,
    progress: bool = True,
) -> Training:
    """Train a learner's weights on episodes: their queries' cross-entropy, or the loss that the learner defines.

    Step k learns from episodes ``first + k B, ..., first + (k + 1) B - 1`` of the sampler, B = batch x accumulate, and
    layers that draw random numbers (dropout) draw those of step k; so a run depends on its arguments alone, and one
    that was killed resumes, to the very same weights (on a CPU). A learner given as a spec string begins with the same
    weights, too. The caller's random state is left as it was.

    Args:
        learner: with weights; a spec string (``"conv4 | prototypes"``) or a `Learner`. It is trained in place.
        source: rows to train on. Pictures in files are decoded once, if they take up to 4 GB at 8 bits; the rows are
            moved to the device once, if they fit into half of its free memory.
        sampler: over the labels of that source.
        steps: updates of the weights.
        batch: episodes of one forward pass.
        accumulate: forward passes of one update.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"`` (momentum 0.9).
        lr: learning rate.
        weight_decay: of the optimizer.
        schedule: of the learning rate: ``"constant"``, ``"cosine"`` or ``"linear"``.
        warm_up: steps over which the learning rate rises.
        clip: longest gradient, or None.
        precision: of the forward pass; ``"bfloat16"`` and ``"float16"`` by autocast (loss scaled for the latter).
        validation: rows and sampler of classes that are neither trained on nor tested.
        validation_episodes: how many.
        every: steps between reports, validations and checkpoints.
        patience: reports without a better validation after which training ends, or None.
        out: folder for ``best.safetensors``, ``last.safetensors``, the state, and ``log.jsonl``; a run that finds its
            state there resumes. A finished one continues from its optimizer's state if `steps` is larger, where neither
            the schedule nor the learner depends on it.
        augment: ``"flip | crop(0.8)"`` (see `fewshot.augmentation`), a transform of torchvision, or a function
            (rows ``[B, R, *x]``, generator) -> rows; the generator is seeded by the step.
        callbacks: called with each report.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        first: number of the first episode, and seed of weights and layers.
        progress: show a bar on a terminal.

    Raises:
        ValueError: the learner has no weights, an argument is out of range, or `out` holds another training (of
            another learner, rows, episodes, validation, augmentation or plan), damaged files, or files of others.
        FloatingPointError: the loss is not finite; the message names the step.
    """
    if not callable(getattr(sampler, "draw", None)):
        raise ValueError(
            f"meta_train(learner, source, sampler): sampler is {sampler!r}; it must be what draws episodes, such as "
            "EpisodeSampler(source.labels, way=5, shot=1)."
        )
    change = load_augmentation(augment)
    model = seeded_learner(learner, first)
    plan = Plan(steps, batch, accumulate, optimizer, lr, weight_decay, schedule, warm_up, clip, precision, first)
    plan.check()
    monitoring = Monitoring(every, validation, validation_episodes, patience, out, callbacks, progress, "episodes")
    monitoring.check()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"{model!r} has no weights to train; put a network in front of it: 'conv4 | {model!r}'.")
    place = choose_device(device)
    model.to(place)
    rows = on_device(decoded(source, progress), place)
    generator = torch.Generator()

    def compute_loss(step: int, turn: int) -> tuple[Tensor, Tensor]:
        if turn == 0:
            generator.manual_seed(first + step)
        drawn = sampler.draw(first + (step * accumulate + turn) * batch, batch)
        known = int((drawn.targets >= 0).sum())
        losses, right = [], []
        for _, part in drawn.groups():  # one, unless episodes have unequally many queries
            episode, targets = gather(rows, part, place, change, generator)
            with _numbered_step(model, step, steps):
                loss, logits = episode_loss(model, episode, targets)
            losses.append(loss * (int((part.targets >= 0).sum()) / max(known, 1)))
            right.append(((logits.argmax(-1) == targets) & (targets >= 0)).sum())
        return torch.stack(losses).sum(), torch.stack(right).sum() / max(known, 1)

    def identity() -> dict[str, Any]:
        return training_identity(model, source, sampler, monitoring, change, plan)

    held = validation and (on_device(decoded(validation[0], progress), place), validation[1])
    return train(model, model, compute_loss, plan, replace(monitoring, validation=held), place, identity)


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
    """Drawn episodes with their rows, and the targets with -1 for queries of no known class, which have no loss."""
    rows = take(source[drawn.rows], device)
    if augment is not None:
        rows = augment(rows, generator or torch.Generator())
    episode, targets = drawn.episode(rows)
    return episode, targets.clamp(min=-1)


@contextmanager
def _numbered_step(model: nn.Module, step: int, steps: int) -> Iterator[None]:
    """Give learners that change over training (`share_done`) the share of steps done."""
    parts = [(part, vars(part).get("share_done")) for part in model.modules() if hasattr(part, "share_done")]
    for part, _ in parts:
        part.share_done = step / steps  # type: ignore[assignment]
    try:
        yield
    finally:
        for part, before in parts:
            if before is None:
                del part.share_done
            else:
                part.share_done = before

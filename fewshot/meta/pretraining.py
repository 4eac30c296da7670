"""`pretrain`: plain classification of all base classes, before or instead of meta-training."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes.device import choose_device
from episodes.source import Source
from fewshot.augmentation.loading import load_augmentation
from fewshot.meta.identity import training_identity
from fewshot.meta.loop import train
from fewshot.meta.plan import Monitoring, Plan, Training
from fewshot.meta.precision import training_precision
from fewshot.meta.rows import decoded, on_device, take
from fewshot.meta.start import seeded_learner
from fewshot.nets.features import feature_count
from fewshot.nets.front import NetFront
from fewshot.renamed import renamed


class _Classified(nn.Module):
    """A learner, and the classifier over the base classes that is discarded afterwards."""

    def __init__(self, learner: nn.Module, head: Tensor) -> None:
        super().__init__()
        self.learner, self.head = learner, nn.Parameter(head)


@renamed(rate="lr", decay="weight_decay", optimiser="optimizer", first="seed")
def pretrain(
    learner: Any,
    source: Source,
    *,
    epochs: int = 10,
    batch: int = 64,
    optimizer: str = "adam",
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    schedule: str = "cosine",
    warm_up: int = 0,
    clip: float | None = None,
    precision: str = "float32",
    cosine: bool = False,
    scale: float = 10.0,
    validation: tuple[Source, Any] | None = None,
    validation_episodes: int = 200,
    every: int | None = None,
    patience: int | None = None,
    out: str | os.PathLike[str] | None = None,
    augment: str | Callable[[Tensor, torch.Generator], Tensor] | None = None,
    callbacks: Sequence[Callable[[dict[str, Any]], Any]] = (),
    device: torch.device | str = "auto",
    seed: int = 0,
    progress: bool = True,
) -> Training:
    """Train the network in front of a learner to classify all classes of a source: a "Baseline".

    A linear classifier over the classes is trained on top of the features, and discarded afterwards; the learner behind
    the network takes its place. With `cosine` it is a cosine classifier ("Baseline++"). Continue with `meta_train`, or
    evaluate as it is. Validation is by episodes, and a run that was killed resumes, as in `meta_train`.

    Args:
        learner: with a network in front, ``conv4 | prototypes``; its network is trained in place.
        source: rows of the base classes.
        epochs: passes over the rows.
        batch: rows of one update.
        optimizer: as in `meta_train`, like all that is not explained here.
        lr: learning rate.
        weight_decay: of the optimizer.
        schedule: of the learning rate.
        warm_up: steps over which the learning rate rises.
        clip: longest gradient, or None.
        precision: of the forward pass.
        cosine: compare by ``scale cos`` instead of a linear classifier.
        scale: of that cosine.
        validation: rows and sampler of classes that are neither trained on nor tested.
        validation_episodes: how many.
        every: steps between reports, validations and checkpoints; by default one epoch.
        patience: reports without a better validation after which training ends, or None.
        out: folder for weights, state and log.
        augment: ``"flip | crop(0.8)"`` (see `fewshot.augmentation`), a transform of torchvision, or a function
            (rows ``[1, B, *x]``, generator) -> rows; the generator is seeded by the step.
        callbacks: called with each report.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        seed: of the weights, of the order of rows, of the classifier and of layers that draw random numbers.
        progress: show a bar on a terminal.

    Raises:
        ValueError: the learner has no network in front, an argument is out of range, there are fewer than two classes,
            or `out` holds something else.

    Reference: Chen, Liu, Kira, Wang, Huang, "A closer look at few-shot classification", ICLR 2019, arXiv:1904.04232.
    """
    if epochs < 1 or batch < 2 or scale <= 0:
        raise ValueError(f"epochs={epochs}, batch={batch}, scale={scale}; at least 1, at least 2, and positive.")
    change = load_augmentation(augment)
    model = seeded_learner(learner, seed)
    front = next((part for part in model.modules() if isinstance(part, NetFront)), None)
    if front is None:
        raise ValueError(f"{model!r} has no network in front; write 'conv4 | {model!r}'.")
    place = choose_device(device)
    per_epoch = max(1, len(source.labels) // batch)
    plan = Plan(
        epochs * per_epoch, min(batch, len(source.labels)), 1, optimizer, lr, weight_decay, schedule, warm_up,
        clip, training_precision(precision, model, place), seed,
    )  # fmt: skip
    plan.check()
    every = per_epoch if every is None else every
    monitoring = Monitoring(every, validation, validation_episodes, patience, out, callbacks, progress, "rows")
    monitoring.check()
    generator = torch.Generator().manual_seed(seed)
    if len(source.class_names) < 2:
        raise ValueError(f"{source.name!r} has {len(source.class_names)} classes; classification needs at least two.")
    start = 0.05 * torch.randn(len(source.class_names), _width(front), generator=generator)
    trained = _Classified(model, start).to(place)
    rows, labels = on_device(decoded(source, progress), place), source.labels.to(place)
    order: dict[int, Tensor] = {}

    def compute_loss(step: int, turn: int) -> tuple[Tensor, Tensor]:
        epoch, part = divmod(step, per_epoch)
        if epoch not in order:
            order.clear()
            random = np.random.Generator(np.random.Philox(key=[seed, epoch]))
            order[epoch] = torch.from_numpy(random.permutation(len(labels)))
        chosen = order[epoch][part * plan.batch : (part + 1) * plan.batch]
        pictures = take(rows[chosen], place).unsqueeze(0)
        if change is not None:
            pictures = change(pictures, generator.manual_seed(seed + step))
        features, wanted = front(pictures, None)[0], labels[chosen.to(labels.device)]
        if cosine:
            logits = scale * F.normalize(features, dim=-1) @ F.normalize(trained.head, dim=-1).T
        else:
            logits = features @ trained.head.T
        return F.cross_entropy(logits.float(), wanted), (logits.argmax(-1) == wanted).float().mean()

    def identity() -> dict[str, Any]:
        classifier = f"cosine * {scale}" if cosine else "linear"
        return training_identity(model, source, None, monitoring, change, plan, classifier=classifier)

    held = validation and (on_device(decoded(validation[0], progress), place), validation[1])
    return train(trained, model, compute_loss, plan, replace(monitoring, validation=held), place, identity)


def _width(front: NetFront) -> int:
    dim = getattr(front.net, "dim", None) or getattr(front, "width", None)
    return dim if isinstance(dim, int) else feature_count(front.net, front.item_shape)

"""`train_tasks`: one network for several tasks, with a head for each."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from episodes.device import choose_device
from episodes.source import tower_of
from fewshot.encoders.encoder import Encoder
from fewshot.meta.precision import training_precision
from fewshot.multi_task.result import MultiTask
from fewshot.multi_task.run import run
from fewshot.multi_task.sampling import Sampling, load_sampling
from fewshot.multi_task.tasks import Tasks, read_tasks
from fewshot.multi_task.weighting import Weighting
from fewshot.multi_task.weightings import load_weighting
from fewshot.transfer.fine_tuning import fine_tune
from fewshot.transfer.settings import Settings
from fewshot.transfer.strategies import LinearProbe, Strategy, load_strategies


def train_tasks(
    encoder: str | Encoder,
    tasks: Tasks,
    strategy: str | Strategy | Sequence[Strategy] = "full",
    *,
    sampling: str | Sampling = "proportional",
    weighting: str | Weighting = "equal",
    epochs: int | None = None,
    batch_size: int = 64,
    lr: float | None = None,
    head_lr: float | None = None,
    optimizer: str = "adamw",
    weight_decay: float = 1e-4,
    schedule: str = "cosine",
    warm_up: float = 0.1,
    clip: float | None = None,
    head: str = "prototypes",
    batch_norm: str = "auto",
    layer_decay: float = 1.0,
    label_smoothing: float = 0.0,
    augment: str | Callable[[Tensor, torch.Generator], Tensor] | None = None,
    prefix: str | bool = "auto",
    validation: Mapping[str, Any] | None = None,
    patience: int | None = None,
    out: str | os.PathLike[str] | None = None,
    cache: Any = None,
    device: torch.device | str = "auto",
    precision: str = "float32",
    seed: int = 0,
    callbacks: Sequence[Callable[[dict[str, Any]], Any]] = (),
    progress: bool = True,
) -> MultiTask:
    """Train one network and a linear head for each of several classification tasks.

    A batch mixes the rows of all tasks: ``B p_t`` of task t on average, by `sampling`. Its loss is
    ``sum_t s_t w_t L_t``, with the cross-entropy L of each task's rows by its own head, their share s of the batch, and
    the weights of `weighting`. All else is as in `fine_tune`: what trains is planned and logged, frozen stages are
    computed once, the encoder given is not changed, and a run that was killed resumes, to the same weights (on a CPU).

    Args:
        encoder: spec string or `Encoder`; ``"net:conv4(item_shape=(1, 28, 28))"`` with ``strategy="scratch"`` for a
            small network of its own.
        tasks: labelled rows by name of the task, as `fewshot.embed` takes them; or pairs of name and rows. Tasks may
            differ in size and number of classes; rows must be of one kind, and of one shape behind the transform.
        strategy: which part of the network trains; see `fine_tune`.
        sampling: ``"proportional"`` to size (each row about once an epoch), ``"temperature(T)"`` (size to the power of
            1 / T), ``"annealed(drop)"`` (from proportional to nearly uniform) or ``"uniform"``.
        weighting: ``"equal"``, ``"uncertainty"``, ``"gradnorm(alpha, lr)"`` or ``"pcgrad"``; the last two take a
            backward pass for each task in each step.
        epochs: passes over as many rows as all tasks have; None: as in `fine_tune`.
        batch_size: rows of an update, of all tasks together.
        lr: rate of the network, as in `fine_tune`, like all that is not explained here.
        head_lr: rate of the heads, and of the log variances of ``"uncertainty"``.
        optimizer: of network and heads.
        weight_decay: of matrices and filters.
        schedule: of the rates.
        warm_up: share of the updates over which the rates rise.
        clip: longest gradient, or None.
        head: how each head begins.
        batch_norm: which statistics trained batch norms use: those of a batch are of its mixture of tasks.
        layer_decay: rates fall by this factor from stage to stage towards the input.
        label_smoothing: share of the target that is spread over the classes of the task.
        augment: of the pictures of all tasks.
        prefix: whether the activations of frozen stages are kept.
        validation: held-out rows by name, of some or all tasks; the weights of the highest mean accuracy are kept.
        patience: epochs without a better validation after which a phase ends, or None.
        out: folder for the state of the training.
        cache: of embeddings and activations.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        precision: of the forward pass, as in `fine_tune`.
        seed: of the order of rows, of new weights, of dropout and of the order of projections.
        callbacks: called with the report of each epoch.
        progress: show bars on a terminal.

    Raises:
        ValueError: fewer than two tasks, a name twice, pictures and texts together, rows of different shapes, or what
            `fine_tune` refuses.
        FloatingPointError: the loss is not finite.

    References: Caruana, "Multitask learning", Machine Learning 28 (1997); those of samplings and weightings are in
    `fewshot.multi_task`.
    """
    from fewshot.augmentation import load_augmentation
    from fewshot.augmentation.in_pixels import for_inputs
    from fewshot.encoders import load_encoder

    given, place = load_encoder(encoder), choose_device(device)
    spec = os.fspath(encoder) if isinstance(encoder, str | os.PathLike) else None
    phases = load_strategies(strategy)
    for phase in phases:
        if type(phase).objective is not Strategy.objective:
            raise ValueError(f"{phase!r} has a loss of its own, of one task; take 'full', 'last(k)' or 'lora(8)'.")
    written = strategy if isinstance(strategy, str) else " | ".join(map(repr, phases))
    change = for_inputs(load_augmentation(augment), given.transform, given.name)
    how = _settings(
        epochs=epochs, batch_size=batch_size, lr=lr, head_lr=head_lr, optimizer=optimizer, weight_decay=weight_decay,
        schedule=schedule, warm_up=warm_up, clip=clip, head=head, batch_norm=batch_norm, layer_decay=layer_decay,
        label_smoothing=label_smoothing, augment=change, prefix=prefix,
        precision=training_precision(precision, given.module, place), seed=seed,
    )  # fmt: skip
    how.check(phases)
    shares, weigher = load_sampling(sampling), load_weighting(weighting)
    if weigher.compares and all(isinstance(phase, LinearProbe) for phase in phases):
        raise ValueError(
            f"weighting={weigher!r} compares the tasks' gradients in the network, of which {written!r} trains nothing; "
            "take 'equal', or another strategy."
        )
    rows = read_tasks(tasks, validation, given)
    if batch_size < len(rows):
        raise ValueError(f"batch_size={batch_size}, but there are {len(rows)} tasks; a batch needs a row of each.")
    if change is not None and tower_of(next(iter(rows.values())).items) == "texts":
        raise ValueError("the tasks hold texts; augment is of images, so leave it out.")
    return run(
        given, rows, phases, written, how, shares, weigher, spec=spec, device=place, cache=cache, patience=patience,
        out=out, callbacks=callbacks, progress=progress,
    )  # fmt: skip


def _settings(**given: Any) -> Settings:
    """Settings of a fine-tuning; those that several tasks do not have are as `fine_tune` leaves them."""
    defaults = inspect.signature(fine_tune).parameters
    names = Settings.__dataclass_fields__
    return Settings(**{name: given[name] if name in given else defaults[name].default for name in names})

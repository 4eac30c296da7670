"""`fine_tune`: train as much of a pretrained network as a strategy says."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from episodes.device import choose_device
from episodes.source import tower_of
from fewshot.encoders.encoder import Encoder
from fewshot.meta.precision import training_precision
from fewshot.transfer.alignment.alignment import Alignment
from fewshot.transfer.alignment.reading import read_alignment
from fewshot.transfer.labelled_rows import read_rows
from fewshot.transfer.settings import Settings
from fewshot.transfer.strategies import Strategy, load_strategies
from fewshot.transfer.tuned_encoder import TunedEncoder
from fewshot.transfer.tuning_run import run


def fine_tune(
    encoder: str | Encoder,
    source: Any,
    strategy: str | Strategy | Sequence[Strategy] = "last(2)",
    *,
    epochs: int | None = None,
    batch_size: int = 32,
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
    l2_sp: float | tuple[float, float] | None = None,
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
    augment: str | Callable[[Tensor, torch.Generator], Tensor] | None = None,
    views: int = 0,
    wise: float | None = None,
    swa: float | None = None,
    prefix: str | bool = "auto",
    target: Any = None,
    alignment: str | Alignment | None = None,
    validation: Any = None,
    patience: int | None = None,
    out: str | os.PathLike[str] | None = None,
    cache: Any = None,
    device: torch.device | str = "auto",
    precision: str = "float32",
    seed: int = 0,
    callbacks: Sequence[Callable[[dict[str, Any]], Any]] = (),
    progress: bool = True,
) -> TunedEncoder:
    """Train some of a pretrained network, and a linear head, on labelled rows.

    What trains is shown before it starts: at level INFO of the logger "fewshot", and as ``.plan`` of the result.
    Frozen stages keep their running statistics and drop nothing out. Where no epoch brings new inputs (as `mixup` does,
    and `augment` unless it makes a number of `views`), what comes out of the frozen first stages is computed once and
    kept in the embedding cache.
    The encoder given is not changed. A run that was killed goes on where it was, to the same weights (on a CPU).

    Args:
        encoder: spec string or `Encoder`.
        source: labelled rows, as `fewshot.embed` takes them.
        strategy: ``linear-probe``, ``last(k)`` stages, ``full``, ``scratch`` (the architecture alone), ``norm``,
            ``bias``, ``lora(rank, alpha, targets)``, ``gradual(every)``, ``lp-ft``, ``setfit(iterations)``,
            ``prompt(length, init)``, ``clip-lora(rank, alpha, targets, template)``; in sequence separated by ``|``,
            each with ``epochs``, ``lr`` and ``head_lr`` of its own: ``"linear-probe | last(3, lr=1e-4)"``.
        epochs: passes over the rows; None: 10,000 rows seen in all, at least 5 and at most 50 passes.
        batch_size: rows of an update; pairs with ``setfit``.
        lr: rate of the network; None: the strategy's own (1e-4; 1e-3 for few parameters; 2e-3 from scratch).
        head_lr: rate of the head; None: the strategy's own (1e-3; 2e-3 from scratch).
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"`` (momentum 0.9).
        weight_decay: of matrices and filters; biases, scales and shifts do not decay.
        schedule: of the rates: ``"cosine"``, ``"linear"`` or ``"constant"``.
        warm_up: share of the updates over which the rates rise.
        clip: longest gradient, or None.
        head: how the head begins: ``"prototypes"``, ``"ridge"`` or ``"zero"``; see `first_head`.
        batch_norm: trained batch norms use running statistics (``"frozen"``), those of the batch (``"train"``), or
            (``"auto"``) the former below 1,000 rows or batches of 32, unless all begins from scratch, and where
            statistics were folded into the weights (means 0, variances 1).
        layer_decay: rates fall by this factor from stage to stage towards the input.
        l2_sp: strength alpha of ``alpha/2 |w - w_0|² + beta/2 |head|²``, which takes the place of `weight_decay`; or
            (alpha, beta); beta is 0.01.
        label_smoothing: share of the target that is spread over all classes.
        mixup: a of the Beta(a, a) by which pairs of rows and of labels are mixed; 0: they are not.
        augment: ``"flip | crop(0.8) | color(0.2)"`` (see `fewshot.augmentation`) or a transform of torchvision, of
            pixels; or a function (inputs ``[B, *x]``, generator seeded by the step) -> inputs, after the encoder's
            transform.
        views: 0: every epoch augments anew, and the whole network runs. V: each image has V augmented views, which its
            content and the seed decide; epoch e sees view e mod V of each. What comes out of the frozen first stages is
            computed once for each view and kept in the embedding cache, so that only the stages that train run.
        wise: a of ``(1 - a) theta_0 + a theta`` of network and head in the end; None: 1.
        swa: share of the epochs of each phase, the last ones, at whose ends the weights are averaged (at least one
            epoch); the rates stay from there on what the schedule has then. Trained batch norms that use statistics of
            the batch take their running ones anew over all rows, as they are without `augment`. Of LoRA the factors
            are averaged. Not with `validation`, which keeps the weights of one epoch. None: the last weights.
        prefix: ``"auto"``: activations are kept up to 4 GB; True: whatever their size; False: never.
        target: rows of another domain that the encoder is to serve, as `fewshot.embed` takes them; their labels, where
            there are any, are not read.
        alignment: how features of source and target are made alike: ``"dann(weight=1.0)"``, ``"confusion"``,
            ``"deep-coral"`` or ``"mmd"`` (see `fewshot.transfer.alignment`). Batch norms that train with statistics
            of the batch take those of each domain by itself, and their running ones from the target. Phases that
            train the head alone are not aligned.
        validation: rows of the same classes that are not trained on; the best weights on them are kept.
        patience: epochs without a better validation after which a phase ends, or None.
        out: folder for the state of the training.
        cache: of embeddings and activations, as in `fewshot.embed`.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        precision: of the forward pass: ``"float32"``, ``"bfloat16"``, ``"float16"``, or ``"auto"``: bfloat16 where that
            is known to be faster on this processor, else float32.
        seed: of the order of rows, of new weights and of dropout.
        callbacks: called with the report of each epoch.
        progress: show bars on a terminal.

    Raises:
        ValueError: nothing can be trained that way on these rows; the message says why.
        FloatingPointError: the loss is not finite.

    References: Li, Grandvalet, Davoine, "Explicit inductive bias for transfer learning with convolutional networks",
    ICML 2018, arXiv:1802.01483 (L2-SP); Zhang, Cisse, Dauphin, Lopez-Paz, "mixup", ICLR 2018, arXiv:1710.09412;
    Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, "Averaging weights leads to wider optima and better generalization",
    UAI 2018, arXiv:1803.05407 (SWA); those of the strategies are in `fewshot.transfer.strategies`.
    """
    from fewshot.augmentation import load_augmentation
    from fewshot.augmentation.in_pixels import for_inputs
    from fewshot.encoders import load_encoder

    phases = load_strategies(strategy)
    written = strategy if isinstance(strategy, str) else " | ".join(map(repr, phases))
    given, place = load_encoder(encoder), choose_device(device)
    change = for_inputs(load_augmentation(augment), given.transform, given.name)
    how = Settings(
        epochs, batch_size, lr, head_lr, optimizer, weight_decay, schedule, warm_up, clip, head, batch_norm,
        layer_decay, l2_sp, label_smoothing, mixup, change, wise, swa, prefix,
        training_precision(precision, given.module, place), seed,
        views,
    )  # fmt: skip
    how.check(phases)
    if swa is not None and validation is not None:
        raise ValueError(
            f"swa={swa!r} with validation: validation keeps the weights of the best epoch, swa the mean over several; "
            "leave one of them out."
        )
    if patience is not None and (validation is None or patience < 1):
        raise ValueError(
            f"patience={patience!r}: it counts epochs without better answers to held-out rows, so it is at least 1 "
            "and needs validation=rows."
        )
    if views and target is not None:
        raise ValueError(
            f"views={views} with target: only the labelled rows would be seen in views; leave one of them out."
        )
    rows = read_rows(source, validation, given)
    aligned = read_alignment(target, alignment, given, rows.items, phases, mixup)
    if tower_of(rows.items) == "texts" and (how.augment is not None or mixup):
        raise ValueError(f"{rows.items.name!r} holds texts; augment and mixup are of images, so leave them out.")
    return run(
        given, rows, phases, written, how, device=place, cache=cache, patience=patience, out=out, callbacks=callbacks,
        progress=progress, aligned=aligned,
    )  # fmt: skip

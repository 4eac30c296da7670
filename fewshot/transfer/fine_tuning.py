"""`fine_tune`: train as much of a pretrained network as a strategy says."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from episodes.device import choose_device, processors
from episodes.identity import UnknownIdentityError, digest
from episodes.source import StoredSource, tower_of
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.body import Anatomy, Body, examine
from fewshot.transfer.copying import copied, interpolate
from fewshot.transfer.cut import Cut
from fewshot.transfer.heads import first_head, linear
from fewshot.transfer.inputs import Activations, Inputs
from fewshot.transfer.phase import train_phase
from fewshot.transfer.planning import find_cut, plan_phase
from fewshot.transfer.prefix import PrefixEncoder
from fewshot.transfer.settings import Settings
from fewshot.transfer.strategies import LinearProbe, Strategy, load_strategies
from fewshot.transfer.tuned_encoder import TunedEncoder
from fewshot.transfer.tuning import Tuning, accuracy
from fewshot.transfer.tuning_plan import TuningPlan

_LOG = logging.getLogger("fewshot")


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
    wise: float | None = None,
    swa: float | None = None,
    prefix: str | bool = "auto",
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
    Frozen stages keep their running statistics and drop nothing out. Where no row is changed from epoch to epoch
    (`augment`, `mixup`), what comes out of the frozen first stages is computed once and kept in the embedding cache.
    The encoder given is not changed. A run that was killed goes on where it was, to the same weights (on a CPU).

    Args:
        encoder: spec string or `Encoder`.
        source: labelled rows, as `fewshot.embed` takes them.
        strategy: ``linear-probe``, ``last(k)`` stages, ``full``, ``scratch`` (the architecture alone), ``norm``,
            ``bias``, ``lora(rank, alpha, targets)``, ``gradual(every)``, ``lp-ft``; in sequence separated by ``|``,
            each with ``epochs``, ``lr`` and ``head_lr`` of its own: ``"linear-probe | last(3, lr=1e-4)"``.
        epochs: passes over the rows; None: 10,000 rows seen in all, at least 5 and at most 50 passes.
        batch_size: rows of an update.
        lr: rate of the network; None: the strategy's own (1e-4; 1e-3 for few parameters; 2e-3 from scratch).
        head_lr: rate of the head; None: the strategy's own (1e-3; 2e-3 from scratch).
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"`` (momentum 0.9).
        weight_decay: of matrices and filters; biases, scales and shifts do not decay.
        schedule: of the rates: ``"cosine"``, ``"linear"`` or ``"constant"``.
        warm_up: share of the updates over which the rates rise.
        clip: longest gradient, or None.
        head: how the head begins: ``"prototypes"``, ``"ridge"`` or ``"zero"``; see `first_head`.
        batch_norm: trained batch norms use running statistics (``"frozen"``), those of the batch (``"train"``), or
            (``"auto"``) the former below 1,000 rows or batches of 32, unless all begins from scratch.
        layer_decay: rates fall by this factor from stage to stage towards the input.
        l2_sp: strength alpha of ``alpha/2 |w - w_0|² + beta/2 |head|²``, which takes the place of `weight_decay`; or
            (alpha, beta); beta is 0.01.
        label_smoothing: share of the target that is spread over all classes.
        mixup: a of the Beta(a, a) by which pairs of rows and of labels are mixed; 0: they are not.
        augment: ``"flip | crop(0.8) | color(0.2)"`` (see `fewshot.augmentation`) or a transform of torchvision, of
            pixels; or a function (inputs ``[B, *x]``, generator seeded by the step) -> inputs, after the encoder's
            transform.
        wise: a of ``(1 - a) theta_0 + a theta`` of network and head in the end; None: 1.
        swa: share of the epochs of each phase, the last ones, at whose ends the weights are averaged (at least one
            epoch); the rates stay from there on what the schedule has then. Trained batch norms that use statistics of
            the batch take their running ones anew over all rows, as they are without `augment`. Of LoRA the factors
            are averaged. Not with `validation`, which keeps the weights of one epoch. None: the last weights.
        prefix: ``"auto"``: activations are kept up to 4 GB; True: whatever their size; False: never.
        validation: rows of the same classes that are not trained on; the best weights on them are kept.
        patience: epochs without a better validation after which a phase ends, or None.
        out: folder for the state of the training.
        cache: of embeddings and activations, as in `fewshot.embed`.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        precision: of the forward pass: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
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
    from episodes import load_dataset
    from episodes.any_source import as_source
    from fewshot.augmentation import load_augmentation
    from fewshot.augmentation.in_pixels import for_inputs
    from fewshot.encoders import load_encoder

    phases = load_strategies(strategy)
    written = strategy if isinstance(strategy, str) else " | ".join(map(repr, phases))
    given, place = load_encoder(encoder), choose_device(device)
    change = for_inputs(load_augmentation(augment), given.transform, given.name)
    how = Settings(
        epochs, batch_size, lr, head_lr, optimizer, weight_decay, schedule, warm_up, clip, head, batch_norm,
        layer_decay, l2_sp, label_smoothing, mixup, change, wise, swa, prefix, precision, seed,
    )  # fmt: skip
    how.check(phases)
    if swa is not None and validation is not None:
        raise ValueError(
            f"swa={swa!r} with validation: validation keeps the weights of the best epoch, swa the mean over several; "
            "leave one of them out."
        )
    source = load_dataset(source) if isinstance(source, str) else source
    items = as_source(source, given)
    if tower_of(items) == "texts" and (how.augment is not None or mixup):
        raise ValueError(f"{items.name!r} holds texts; augment and mixup are of images, so leave them out.")
    labels, names = checked_classes(items)
    held_out = None if validation is None else as_source(validation, given)
    wanted = None if held_out is None else validation_labels(held_out, names)

    # A probe needs features alone: not even a network that could be trained.
    probed = how.still and all(isinstance(phase, LinearProbe) for phase in phases)
    body = None if probed else Body(given, tower_of(items))
    model = (copied(given) if body is None else body.encoder).to(place)
    learned = [] if model.module is None else [value.requires_grad for value in model.module.parameters()]
    before = {} if model.module is None else clones(model.module)
    origin = {} if body is None else {name: value.detach().clone() for name, value in body.network.named_parameters()}
    options: dict[str, Any] = {
        "cache": cache, "device": place, "storage": "float32", "precision": precision, "progress": progress,
    }  # fmt: skip
    inputs = None if body is None else Inputs(items, model, progress)
    anatomy = Anatomy([], [])
    example = None if inputs is None else inputs.first(2, place)
    if body is not None:
        anatomy = examine(body, example)
        if anatomy.problem and any(phase.blocks for phase in phases):
            raise ValueError(anatomy.problem)
    start = "zero" if not phases[0].pretrained else head
    top = first_linear(start, source, model, labels, len(names), options).to(place)
    begun = clones(top)

    planned = []
    for phase in phases:
        part = plan_phase(
            phase, body, anatomy, how, len(labels), top.in_features, len(names), phases[0].pretrained, model
        )  # fmt: skip
        cut = None if body is None else find_cut(part, body, anatomy, example, len(labels), how)
        kept = cut is not None or (not part.names and how.still and len(part.lines) > 1)
        planned.append((phase, replace(part, cut=part.first if kept else None), cut))
    plan = TuningPlan(tuple(part for _, part, _ in planned))
    _LOG.info("fine-tuning %r on %d rows of %d classes\n%s", given.name, len(labels), len(names), plan)

    base = identity_of(given, required=out is not None)

    def identity(number: int) -> dict[str, Any]:
        contents = [None if part is None else content_of(part) for part in (items, held_out)]
        return {"encoder": base, "rows": contents, "strategy": written, "settings": how.identity(), "phase": number}

    history = []
    for number, (phase, part, cut) in enumerate(planned):
        if body is not None:
            phase.prepare(body.network, seed)
        tuning = Tuning(
            body, top, anatomy.parts, part.names, part.batch_norm, cut, features=not part.names and how.still
        ).to(place)

        rows_of = partial(_phase_rows, body, cut, tuning.alone, model, batch_size, options)
        check = None
        if held_out is not None and wanted is not None:
            check = partial(
                accuracy, tuning, rows_of(validation, Inputs(held_out, model, progress)), wanted, batch_size, place
            )
        history.append(
            train_phase(
                tuning, phase, part, anatomy, how, rows_of(source, inputs), labels, origin,
                partial(identity, number), check=check, patience=patience,
                out=None if out is None else Path(out) / f"{number}-{phase.name}", device=place,
                callbacks=callbacks, progress=progress,
            )
        )  # fmt: skip
        if body is not None:
            phase.finish(body.network)

    if wise is not None:
        top.load_state_dict(interpolate(begun, top.state_dict(), wise))
    changed = _finished(model, before, learned, wise)
    return TunedEncoder(
        model, top.requires_grad_(False), names, base=base, changed=changed, strategy=written, plan=plan,
        history=history,
    )  # fmt: skip


def _phase_rows(
    body: Body | None,
    cut: Cut | None,
    alone: bool,
    model: Encoder,
    batch_size: int,
    options: dict[str, Any],
    data: Any,
    inputs: Any,
) -> Any:
    """What a phase runs on: features, activations at the cut, or the inputs themselves."""
    from fewshot.embedding import embed

    if alone:
        features = embed(data, model, **options).features
        return Activations(features, features.shape[1:])
    if cut is not None and body is not None:
        # In batches of the size that training has: some kernels sum in another order for batches of another size.
        kept = embed(data, PrefixEncoder(body, cut), batch_size=batch_size, **options)
        return Activations(kept.features, cut.shape)
    return inputs


def _finished(model: Encoder, before: dict[str, Tensor], learned: list[bool], wise: float | None) -> list[str]:
    """Interpolate, and put modes back; returns the names of the tensors that are not as before."""
    network = model.module
    if network is None:
        return []
    if wise is not None:
        network.load_state_dict(interpolate(before, network.state_dict(), wise))
    network.eval()
    for value, mode in zip(network.parameters(), learned, strict=True):
        value.requires_grad_(mode)
    return [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]


def checked_classes(items: StoredSource) -> tuple[Tensor, list[str]]:
    """Labels ``[M]`` and names of classes.

    Raises:
        ValueError: fewer than two classes, or one without rows.
    """
    labels, names = items.labels, list(items.class_names)
    counts = torch.bincount(labels, minlength=len(names))
    if len(names) < 2:
        raise ValueError(f"{items.name!r} has {len(names)} class; a classifier needs at least two (give labels).")
    if not counts.all():
        empty = [name for name, count in zip(names, counts.tolist(), strict=True) if not count]
        raise ValueError(
            f"{items.name!r} has {len(labels)} rows for {len(names)} classes, and none of {empty[0]!r}"
            f"{f' and {len(empty) - 1} others' if len(empty) > 1 else ''}; give at least one row of each class."
        )
    return labels, names


def validation_labels(items: StoredSource, names: list[str]) -> Tensor:
    """Labels of held-out rows as numbers of the classes that are trained.

    Raises:
        ValueError: a class is not trained.
    """
    found = [items.class_names[label] for label in items.labels.unique().tolist()]
    stray = [name for name in found if name not in names]
    if stray:
        raise ValueError(f"validation rows are of class {stray[0]!r}, which is not trained; there are {names[:5]}.")
    number = {name: place for place, name in enumerate(names)}
    return torch.tensor([number[items.class_names[label]] for label in items.labels.tolist()])


def first_linear(
    kind: str, source: Any, model: Encoder, labels: Tensor, classes: int, options: dict[str, Any]
) -> nn.Linear:
    """The head before training."""
    from fewshot.embedding import embed

    if kind == "zero" and model.dim is not None:
        weight, bias = torch.zeros(classes, model.dim), torch.zeros(classes)
    else:
        features = embed(source, model, **options).features.float().cpu()  # [M, D]
        weight, bias = first_head(kind, features, labels, classes)
    return linear(weight, bias)


def identity_of(encoder: Encoder, required: bool) -> str:
    """A digest of an encoder's identity; of one that has none, a name that no other has."""
    try:
        return digest(encoder.fingerprint)
    except (UnknownIdentityError, TypeError):
        if required:
            raise
        return uuid.uuid4().hex


def content_of(items: StoredSource) -> str:
    """A digest of rows and labels."""
    from fewshot.embedding.plan import Plan as Contents

    return digest([Contents(items, 0, None, 0, processors()).keys, items.labels, items.class_names])


def clones(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all its tensors."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}

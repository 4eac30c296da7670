"""`adapt_to`: make a tuned encoder serve another domain, by unlabelled rows of it and without a row of the source."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from episodes.device import choose_device
from episodes.identity import digest, digest_weights
from episodes.source import tower_of
from fewshot.adaptation.adapter import AdaptationWarning
from fewshot.meta.precision import training_precision
from fewshot.transfer.alignment.target import without_labels
from fewshot.transfer.averaging import renew_statistics
from fewshot.transfer.body import Body, examine
from fewshot.transfer.copying import clones
from fewshot.transfer.heads import Head, linear
from fewshot.transfer.inputs import Inputs
from fewshot.transfer.norms import folded, keeps_statistics
from fewshot.transfer.phase import train_phase
from fewshot.transfer.planning import plan_phase
from fewshot.transfer.settings import Settings
from fewshot.transfer.source_free import load_method
from fewshot.transfer.source_free.method import SourceFree
from fewshot.transfer.source_free.shares import harm
from fewshot.transfer.tuned_encoder import TunedEncoder
from fewshot.transfer.tuning import Tuning
from fewshot.transfer.tuning_identity import content_of, identity_of
from fewshot.transfer.tuning_plan import StageLine, TuningPlan


def adapt_to(
    tuned: TunedEncoder,
    target: Any,
    method: str | SourceFree = "shot",
    *,
    batch_size: int = 64,
    optimizer: str = "adam",
    out: str | os.PathLike[str] | None = None,
    device: torch.device | str = "auto",
    precision: str = "float32",
    seed: int = 0,
    callbacks: Sequence[Callable[[dict[str, Any]], Any]] = (),
    progress: bool = True,
) -> TunedEncoder:
    """A copy of a tuned encoder that serves another domain; its head is the same.

    Batch norms use statistics of target batches while they train, and take their running ones from all target rows in
    the end, so that the result answers each row by itself, like any encoder. Those that were folded into the weights
    (means 0, variances 1) stay as they are. A run that was killed resumes, to the same weights (on a CPU).

    Args:
        tuned: what `fine_tune` or `load_tuned` gave; it is not changed.
        target: rows as `fewshot.embed` takes them, of at least some of the head's classes; their labels, where there
            are any, are not read.
        method: ``"adabn"``, ``"tent(epochs=1, lr=1e-3)"`` or ``"shot(pseudo=0.3, epochs=15, lr=3e-4)"``; see
            `fewshot.transfer.source_free`.
        batch_size: rows of an update, and those that statistics are of.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"`` (momentum 0.9), without weight decay.
        out: folder for the state of the training.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        precision: of the forward pass, as in `fine_tune`.
        seed: of the order of rows and of dropout.
        callbacks: called with the report of each pass, whose ``accuracy`` is the mean probability of the predicted
            class: nothing is known of the labels.
        progress: show bars on a terminal.

    Raises:
        ValueError: the network has no batch norm to adapt, or folded ones, too few rows, or an argument out of range.

    Warns:
        fewshot.adaptation.AdaptationWarning: the answers about the target look worse afterwards, by what can be seen
            without labels.
    """
    how_to, place = load_method(method), choose_device(device)
    items = without_labels(target, tuned)
    if len(items) < 2 or batch_size < 2:
        raise ValueError(
            f"target {items.name!r} has {len(items)} rows, batch_size={batch_size}; statistics need at least 2 of each."
        )
    body = Body(tuned, tower_of(items)).to(place)
    mode, top, model = _batch_norm(how_to, tuned, body), _fixed_head(tuned).to(place), body.encoder
    assert tuned.module is not None and model.module is not None
    learned = [value.requires_grad for value in tuned.module.parameters()]
    before = clones(model.module)
    inputs = Inputs(items, model, progress)
    anatomy = examine(body, inputs.first(2, place))
    how = _settings(how_to, batch_size, optimizer, mode, training_precision(precision, tuned.module, place), seed)
    how.check([how_to])
    part = plan_phase(
        how_to, body, anatomy, how, len(items), top.in_features, top.out_features, True, model
    )  # fmt: skip
    count = sum(value.numel() for value in top.parameters())
    part = replace(part, lines=(*part.lines[:-1], StageLine("head", count, 0, None, 0.0)))
    tuning = Tuning(body, top, anatomy.parts, part.names, part.batch_norm).to(place)
    rows = torch.arange(len(items))
    at_first = _answers(tuning, inputs, rows, batch_size, place)
    history: list[dict[str, Any]] = []
    if how_to.trains:
        objective = how_to.minimised(how, inputs, torch.zeros(len(items), dtype=torch.int64), place)
        history = train_phase(
            tuning, how_to, part, anatomy, how, objective, {},
            lambda: {
                "encoder": identity_of(tuned, required=True), "head": digest_weights(tuned.head),
                "rows": [content_of(items)], "strategy": [repr(how_to), digest(how_to)], "settings": how.identity(),
            },
            check=None, patience=None, out=None if out is None else Path(out), device=place, callbacks=callbacks,
            progress=progress,
        )  # fmt: skip
    random = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed))
    batches = random.tensor_split(-(-len(items) // batch_size))
    renew_statistics(tuning, (inputs.take(batch, place) for batch in batches))
    found = harm(at_first, _answers(tuning, inputs, rows, batch_size, place), tuned.class_names)
    if found:
        warnings.warn(f"{how_to!r} may have done harm: {found}", AdaptationWarning, stacklevel=2)
    model.module.eval()
    for value, learns in zip(model.module.parameters(), learned, strict=True):
        value.requires_grad_(learns)
    changed = [name for name, value in model.module.state_dict().items() if not torch.equal(value, before[name])]
    return TunedEncoder(
        model, top, tuned.class_names, base=tuned.base, changed=[*{*tuned.changed, *changed}],
        strategy=f"{tuned.strategy} | {how_to!r}", plan=TuningPlan((part,)), history=[history] if history else [],
        setting=how_to.setting,
    )  # fmt: skip


def _batch_norm(how_to: SourceFree, tuned: TunedEncoder, body: Body) -> str:
    """``"train"``, or ``"frozen"`` where the norms hold no statistics that could be renewed.

    Raises:
        ValueError: the method needs norms that do.
    """
    bare = folded(body.network)
    if how_to.statistics and not any(map(keeps_statistics, body.network.modules())):
        raise ValueError(
            f"{how_to!r} adapts batch norms, but {type(body.network).__name__} of {tuned.name!r} has none; use 'shot', "
            "which trains the whole network, or an encoder with batch norms."
        )
    if how_to.statistics and bare:
        raise ValueError(
            f"{how_to!r} renews statistics of batch norms, but {tuned.name!r} has none that were taken from data "
            "(means 0, variances 1: folded into the weights, or never taken), and would compute something else with "
            "others; use 'shot', which leaves such norms as they are."
        )
    return "frozen" if bare else "train"


def _fixed_head(tuned: TunedEncoder) -> Head:
    """A copy of the encoder's head, which does not train."""
    top = linear(tuned.head.weight, tuned.head.bias)
    top.unit = tuned.head.unit
    return top.requires_grad_(False)


def _settings(
    how_to: SourceFree, batch_size: int, optimizer: str, batch_norm: str, precision: str, seed: int
) -> Settings:
    """Those of a training without labels: no decay, no changes of pictures, nothing kept of frozen stages."""
    return Settings(
        epochs=None, batch_size=batch_size, lr=None, head_lr=None, optimizer=optimizer, weight_decay=0.0,
        schedule=how_to.schedule, warm_up=0.0, clip=None, head="zero", batch_norm=batch_norm, layer_decay=1.0,
        l2_sp=None, label_smoothing=0.0, mixup=0.0, augment=None, wise=None, swa=None, prefix=False,
        precision=precision, seed=seed,
    )  # fmt: skip


@torch.no_grad()
def _answers(tuning: Tuning, inputs: Inputs, rows: Tensor, batch: int, device: torch.device) -> Tensor:
    """Probabilities of all rows ``[M, C]``, in evaluation mode."""
    tuning.eval()
    return torch.cat([tuning(inputs.take(part, device)).float().softmax(-1).cpu() for part in rows.split(batch)])

"""The labelled rows of a fine-tuning: what is trained on, what is held out, and what a phase runs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from episodes.source import StoredSource
from fewshot.augmentation.views import Views
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.body import Body
from fewshot.transfer.cut import Cut
from fewshot.transfer.inputs import Activations
from fewshot.transfer.prefix import PrefixEncoder
from fewshot.transfer.settings import Settings
from fewshot.transfer.views import ViewedActivations, ViewedEncoder, ViewedInputs


@dataclass(frozen=True)
class LabelledRows:
    """Rows to train on, and rows of the same classes that are held out.

    Attributes:
        data: the rows as `fewshot.embed` takes them.
        items: the same, stored.
        labels: of them ``[M]``.
        names: of the classes.
        validation: held-out rows as `fewshot.embed` takes them, or None.
        held_out: the same, stored.
        wanted: their labels, as numbers of the classes that are trained.
    """

    data: Any
    items: StoredSource
    labels: Tensor
    names: list[str]
    validation: Any
    held_out: StoredSource | None
    wanted: Tensor | None


def read_rows(source: Any, validation: Any, encoder: Encoder) -> LabelledRows:
    """Rows for an encoder.

    Raises:
        ValueError: classes are missing, or held-out rows are of others.
    """
    from episodes import load_dataset
    from episodes.any_source import as_source

    data = load_dataset(source) if isinstance(source, str) else source
    items = as_source(data, encoder)
    labels, names = checked_classes(items)
    held_out = None if validation is None else as_source(validation, encoder)
    wanted = None if held_out is None else validation_labels(held_out, names)
    return LabelledRows(data, items, labels, names, validation, held_out, wanted)


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


def embedding_options(how: Settings, cache: Any, device: torch.device, progress: bool) -> dict[str, Any]:
    """How a training embeds.

    Some kernels sum in another order for batches of another size. So without a cache, where a resumed training computes
    features again, they come in batches of its own size, not of one that is found by the clock.
    """
    steady = {"batch_size": how.batch_size} if cache is False else {}
    return {
        "cache": cache, "device": device, "storage": "float32", "precision": how.precision, "progress": progress,
        **steady,
    }  # fmt: skip


def phase_rows(
    body: Body | None,
    cut: Cut | None,
    alone: bool,
    model: Encoder,
    batch_size: int,
    options: dict[str, Any],
    data: Any,
    inputs: Any,
    views: Views | None = None,
    count: int = 0,
) -> Any:
    """What a phase runs on: features, activations at the cut, or the inputs themselves; of `count` views, all."""
    from fewshot.embedding import embed

    def computed(encoder: Encoder, shape: Sequence[int] | None, **more: Any) -> Any:
        parts = []
        for one in [encoder] if views is None else [ViewedEncoder(encoder, views, n) for n in range(count)]:
            features = embed(data, one, **{**options, **more}).features
            parts.append(Activations(features, features.shape[1:] if shape is None else shape))
        return parts[0] if views is None else ViewedActivations(parts, len(parts[0].features))

    if alone:
        return computed(model, None)
    if cut is not None and body is not None:
        # In batches of the size that training has: some kernels sum in another order for batches of another size.
        return computed(PrefixEncoder(body, cut), cut.shape, batch_size=batch_size)
    return inputs if views is None else ViewedInputs(inputs, views, len(inputs.items))

"""Any dataset that `fewshot.embed` takes, as items."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.image_source import ImageSource
from episodes.source import TensorSource, number_labels
from episodes.text_source import TextSource
from fewshot.embedding.items import DatasetPictures, Items, Pictures, Tensors, Texts, first_part


def as_items(dataset: Any, encoder: Any, labels: Any = None, class_names: Sequence[str] | None = None) -> Items:
    """Any dataset that `fewshot.embed` takes, as items; labels are read without decoding anything.

    Raises:
        ValueError: the dataset is none of the known kinds, or the encoder has no tower for it.
    """
    if isinstance(dataset, str):
        from episodes import load_dataset

        dataset = load_dataset(dataset)
    items = _from_source(dataset) if hasattr(dataset, "class_names") else None
    if items is None:
        items = _from_plain(dataset, encoder, labels, class_names)
    elif labels is not None or class_names is not None:
        raise ValueError(f"{items.name!r} has labels of its own; labels= is for plain lists and arrays.")
    if hasattr(encoder, "encodes") and not encoder.encodes(items.kind):
        have = "images" if items.kind == "texts" else "texts"
        raise ValueError(f"{items.name!r} holds {items.kind}, but {encoder.name!r} encodes {have} only.")
    return items


def _from_source(source: Any) -> Items | None:
    if isinstance(source, TensorSource):
        return Tensors(source)
    if getattr(source, "kind", "") == "texts":
        return Texts(source)
    return Pictures(source) if hasattr(source, "read") else None


def _from_plain(dataset: Any, encoder: Any, labels: Any, class_names: Sequence[str] | None) -> Items:
    if hasattr(dataset, "__getitem__") and not isinstance(dataset, (Tensor, np.ndarray, list, tuple)):
        return _from_torch_dataset(dataset, labels, class_names)
    rows = len(dataset) if hasattr(dataset, "__len__") else -1
    if rows < 1:
        raise ValueError(
            f"cannot embed {dataset!r:.80}; give a dataset's name, a Source, a torch Dataset with labels, "
            "or a non-empty list of files, images, arrays or texts."
        )
    if labels is None:
        labels, class_names = torch.zeros(rows, dtype=torch.int64), ["unlabelled"]
    if isinstance(dataset, Tensor):
        return Tensors(TensorSource(dataset, labels, class_names, name="tensors"))
    array = np.asarray(dataset) if isinstance(dataset, np.ndarray) else None
    if array is not None and array.dtype.kind == "f":
        return Tensors(TensorSource(array, labels, class_names, name="arrays"))
    things = list(dataset)
    strings = sum(isinstance(thing, str) for thing in things)
    if strings == rows and _are_texts(things, encoder):
        return Texts(TextSource([str(thing) for thing in things], labels, class_names))
    if isinstance(things[0], Tensor):
        return Tensors(TensorSource(torch.stack(things), labels, class_names, name="tensors"))
    return Pictures(ImageSource(things, labels, class_names))


def _are_texts(strings: list[str], encoder: Any) -> bool:
    """Strings are texts or file names; an encoder of both kinds leaves it to whether the files exist."""
    images, texts = encoder.encodes("images"), encoder.encodes("texts")
    if images != texts:
        return bool(texts)
    there = [os.path.isfile(string) for string in strings]
    if any(there) and not all(there):
        raise ValueError(
            f"{strings[there.index(False)]!r} is no file, but other strings are; give pathlib.Path objects "
            "for files, or TextSource(texts, labels) for texts."
        )
    return not any(there)


def _from_torch_dataset(dataset: Any, labels: Any, class_names: Sequence[str] | None) -> Items:
    name = type(dataset).__name__
    rows = len(dataset)
    if labels is None:
        labels, class_names = _labels(dataset)
    if labels is None:
        raise ValueError(
            f"{name} has none of .targets, .labels and .samples, so its labels could only be read by "
            "decoding every item; give embed(..., labels=[...])."
        )
    samples = getattr(dataset, "samples", None)
    plain = getattr(dataset, "transform", None) is None and getattr(dataset, "transforms", None) is None
    if plain and samples and isinstance(samples[0], (tuple, list)) and isinstance(samples[0][0], (str, Path)):
        return Pictures(ImageSource([sample[0] for sample in samples], labels, class_names, name=name))
    numbers, names = number_labels(labels, class_names, rows, name)
    first = first_part(dataset[0])
    if isinstance(first, Tensor):
        stacked = torch.stack([first_part(dataset[row]) for row in range(rows)])
        return Tensors(TensorSource(stacked, numbers, names, name=name))
    if isinstance(first, str):
        return Texts(TextSource([first_part(dataset[row]) for row in range(rows)], numbers, names, name=name))
    return DatasetPictures(dataset, range(rows), numbers, names, name)


def _labels(dataset: Any) -> tuple[Any, Sequence[str] | None]:
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):  # torch.utils.data.Subset
        labels, names = _labels(dataset.dataset)
        return (None if labels is None else np.asarray(labels)[np.asarray(dataset.indices)]), names
    names = getattr(dataset, "classes", None)
    for attribute in ("targets", "labels"):
        if (labels := getattr(dataset, attribute, None)) is not None:
            return np.asarray(labels), names
    samples = getattr(dataset, "samples", None)
    if samples is None:
        return None, None
    return np.asarray([sample[1] for sample in samples]), names

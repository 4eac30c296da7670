"""Any dataset that `fewshot.embed` takes, as a source."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from episodes.audio_source import AudioSource
from episodes.dataset_source import DatasetSource, first_part
from episodes.image_source import ImageSource
from episodes.inputs import is_pil, is_table, item_kind, mappings_instead, rows_of
from episodes.labelled_files import is_sound
from episodes.pixels import channels_first
from episodes.precision import is_sparse
from episodes.source import StoredSource, TensorSource, number_labels, tower_of
from episodes.text_source import TextSource

_PLAIN = (Tensor, np.ndarray, list, tuple, bytes, Mapping)  # that have rows, but no labels of their own


class Encodes(Protocol):
    """What decides how strings are read: an encoder, which takes images, texts or both.

    Attributes:
        name: what messages call it.
    """

    name: str

    def encodes(self, kind: str) -> bool:
        """Whether it takes ``"images"``, ``"texts"`` or ``"sounds"``."""
        ...


def as_source(
    dataset: Any,
    encoder: Encodes,
    labels: Any = None,
    class_names: Sequence[str] | None = None,
    what: str = "dataset",
) -> StoredSource:
    """Any dataset that `fewshot.embed` takes, as a source; labels are read without decoding anything.

    Args:
        dataset: as for `fewshot.embed`; a source is returned as it is.
        encoder: whose towers decide what strings may be.
        labels: of a plain list or array ``[M]``.
        class_names: names for those labels.
        what: what messages call the dataset.

    Raises:
        ValueError: the dataset is none of the known kinds, or the encoder has no tower for it.
    """
    if isinstance(dataset, (str, os.PathLike)):
        from episodes import load_dataset

        dataset = load_dataset(dataset)
    if not (hasattr(dataset, "class_names") and hasattr(dataset, "read")):
        source = _from_plain(dataset, encoder, labels, class_names, what)
    elif labels is not None or class_names is not None:
        raise ValueError(f"{dataset.name!r} has labels of its own; labels= is for plain lists and arrays.")
    else:
        source = dataset
    if not hasattr(encoder, "encodes"):
        return source
    if isinstance(source, AudioSource) and source.kind == "images" and encoder.encodes("sounds"):
        return source.waves(getattr(encoder, "rate", 16000))
    tower = tower_of(source)
    if not encoder.encodes(tower):
        have = " and ".join(kind for kind in ("images", "texts", "sounds") if kind != tower and encoder.encodes(kind))
        raise ValueError(f"{source.name!r} holds {tower}, but {encoder.name!r} encodes {have} only.")
    return source


def _from_plain(
    dataset: Any, encoder: Any, labels: Any, class_names: Sequence[str] | None, what: str
) -> StoredSource:  # docs/inputs.md is the table of what is taken as what
    if _is_torch_dataset(dataset):
        return _from_torch_dataset(dataset, labels, class_names)
    rows = rows_of(dataset, what)
    if labels is None:
        labels, class_names = torch.zeros(len(rows), dtype=torch.int64), ["unlabelled"]
    if isinstance(rows, list):
        kinds = _kinds(rows, encoder, what)
        if kinds == {"text"}:
            return TextSource([str(row) for row in rows], labels, class_names)
        if _are_sounds(rows, kinds, what):
            return AudioSource(rows, labels, class_names)
        rows = _stacked(rows)
    elif isinstance(rows, np.ndarray) and rows.dtype == np.uint8 and rows.ndim in (3, 4):
        rows = list(rows)
    if isinstance(rows, list):
        return ImageSource(rows, labels, class_names)
    name = "tensors" if isinstance(rows, Tensor) else "arrays"
    return TensorSource(channels_first(rows), labels, class_names, name=name)


def _is_torch_dataset(dataset: Any) -> bool:
    plain = isinstance(dataset, _PLAIN) or is_table(dataset) or is_sparse(dataset) or is_pil(dataset)
    return not plain and hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")


def _kinds(rows: list[Any], encoder: Any, what: str) -> set[str]:
    """The kinds of a list's items, which are texts or anything but texts."""
    images, texts = encoder.encodes("images"), encoder.encodes("texts")
    files = images or not texts  # else of sounds
    kinds = [item_kind(row, on_disk=files) for row in rows]
    if "missing" in kinds:
        row = kinds.index("missing")
        raise ValueError(f"row {row} of {what} is missing ({rows[row]!r}); drop it, and its label.")
    if not texts:  # then a string can only be a file's name
        kinds = ["file" if kind == "text" else kind for kind in kinds]
    if not files and "file" in kinds:
        row = kinds.index("file")
        raise ValueError(
            f"row {row} of {what}, {os.fspath(rows[row])!r}, is written like a file, but {encoder.name!r} encodes "
            "texts only; give the content of the file, or TextSource(texts, labels) if these are the texts."
        )
    found = set(kinds)
    if "text" in found and len(found) > 1:
        row = kinds.index("text")
        other = next(number for number, kind in enumerate(kinds) if kind != "text")
        shown = repr(rows[other]) if kinds[other] == "file" else type(rows[other]).__name__
        raise ValueError(
            f"row {row} of {what}, {rows[row]!r:.80}, is no file, so it reads as a text, but row {other} is "
            f"{shown:.80}; give pathlib.Path objects for files, or TextSource(texts, labels) for texts."
        )
    return found


def _are_sounds(rows: list[Any], kinds: set[str], what: str) -> bool:
    """Whether all items are files of sounds; some only is an error."""
    if "file" not in kinds:
        return False
    sounds = [isinstance(row, (str, os.PathLike)) and is_sound(os.fspath(row)) for row in rows]
    if any(sounds) and not all(sounds):
        sound, other = sounds.index(True), sounds.index(False)
        raise ValueError(
            f"row {sound} of {what}, {os.fspath(rows[sound])!r}, is a recording, but row {other} is none; give "
            "recordings or pictures, not both."
        )
    return all(sounds)


def _stacked(rows: list[Any]) -> Any:
    """Arrays or tensors of one shape and type as one; 8-bit arrays and all else stay a list of images."""
    first = rows[0]
    if not isinstance(first, (Tensor, np.ndarray)) or (isinstance(first, np.ndarray) and first.dtype == np.uint8):
        return rows
    alike = all(type(row) is type(first) and row.shape == first.shape and row.dtype == first.dtype for row in rows)
    if not alike or first.ndim == 0:
        return rows
    return torch.stack(rows) if isinstance(first, Tensor) else np.stack(rows)


def _from_torch_dataset(dataset: Any, labels: Any, class_names: Sequence[str] | None) -> StoredSource:
    name, rows = type(dataset).__name__, len(dataset)
    if labels is None:
        labels, class_names = _labels(dataset)
    if labels is None and rows:
        if isinstance(item := dataset[0], Mapping):
            raise ValueError(mappings_instead(item, "dataset"))
        if not isinstance(item, (tuple, list)):  # items alone, as a list of them is given
            labels, class_names = torch.zeros(rows, dtype=torch.int64), ["unlabelled"]
    if labels is None:
        raise ValueError(
            f"{name} has none of .targets, .labels and .samples, so its labels could only be read by "
            "decoding every item; give embed(..., labels=[...])."
        )
    samples = getattr(dataset, "samples", None)
    plain = getattr(dataset, "transform", None) is None and getattr(dataset, "transforms", None) is None
    if plain and samples and isinstance(samples[0], (tuple, list)) and isinstance(samples[0][0], (str, Path)):
        return ImageSource([sample[0] for sample in samples], labels, class_names, name=name)
    numbers, names = number_labels(labels, class_names, rows, name)
    first = first_part(dataset[0])
    if isinstance(first, Mapping):
        raise ValueError(mappings_instead(first, "dataset"))
    if isinstance(first, Tensor):
        stacked = _stacked([first_part(dataset[row]) for row in range(rows)])
        if isinstance(stacked, list):
            return ImageSource(stacked, numbers, names, name=name)
        return TensorSource(channels_first(stacked), numbers, names, name=name)
    if isinstance(first, str):
        return TextSource([first_part(dataset[row]) for row in range(rows)], numbers, names, name=name)
    return DatasetSource(dataset, numbers, names, name=name)


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

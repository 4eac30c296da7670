"""Reading a file of episodes: every array of the type, shape and range that episodes have."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.archives import read_archive
from episodes.schema import field, parse_json

FORMAT = "episodes/1"
FIELDS = ("support", "labels", "query", "targets", "classes", "ids")
_LIKE = {"labels": "support", "targets": "query"}  # of the same shape
_LEAST = {"targets": -2, "ids": 0}  # of the others -1: padding


def read_manifest(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the indices in a file that `save_episodes` wrote.

    Raises:
        ValueError: it is no manifest, damaged, or of a later version; the message names file and field.
        FileNotFoundError: there is no such file.
    """
    where = repr(str(path))
    try:
        arrays = read_archive(path)
    except ValueError as error:
        raise ValueError(f"{where} is no manifest of episodes ({error}); save_episodes writes them.") from None
    for name in ("header", *FIELDS):
        if name not in arrays:
            raise ValueError(f"{where} is no manifest of episodes (it lacks {name}); save_episodes writes them.")
    header = parse_json(arrays.pop("header").tobytes(), f"the header of {where}")
    form = field(header, "format", str, where)
    if form != FORMAT:
        raise ValueError(f"{where} has format {form[:40]!r}; this version reads {FORMAT!r}.")
    rows = field(header, "rows", int, where, least=0)
    field(header, "labels", str, where)
    field(header, "recipe", dict, where)
    foreign = sorted(set(arrays) - {*FIELDS, "unlabelled"})
    if foreign:
        raise ValueError(f"{where} holds {foreign[0][:40]!r}, which is no part of a manifest.")
    _check_shapes(arrays, where)
    way = arrays["classes"].shape[1]
    for name, array in arrays.items():
        below = {"labels": way, "targets": way, "ids": 2**63}.get(name, rows)
        if array.size and (array.min() < _LEAST.get(name, -1) or array.max() >= below):
            raise ValueError(
                f"{where}: the array {name!r} holds numbers outside of {_LEAST.get(name, -1)}..{below - 1}."
            )
    return header, {name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}


def _check_shapes(arrays: dict[str, Any], where: str) -> None:
    episodes = arrays["ids"].shape[0] if arrays["ids"].ndim else 0
    for name, array in arrays.items():
        like = arrays[_LIKE.get(name, name)]
        axes = 1 if name == "ids" else 2
        if array.dtype.kind not in "iu" or array.ndim != axes or len(array) != episodes or array.shape != like.shape:
            raise ValueError(f"{where}: the array {name!r} is {array.dtype} {list(array.shape)}, which does not fit.")

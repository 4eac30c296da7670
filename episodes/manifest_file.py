"""Reading a file of episodes; `ManifestSampler` checks that its arrays fit one another and a dataset."""

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
    field(header, "rows", int, where, least=0)
    field(header, "labels", str, where)
    field(header, "recipe", dict, where)
    foreign = sorted(set(arrays) - {*FIELDS, "unlabelled"})
    if foreign:
        raise ValueError(f"{where} holds {foreign[0][:40]!r}, which is no part of a manifest.")
    episodes = len(arrays["ids"]) if arrays["ids"].ndim else 0
    for name, array in arrays.items():
        fits = array.dtype.kind in "iu" and array.ndim == (1 if name == "ids" else 2)
        if not fits or (name == "unlabelled" and len(array) != episodes) or (array.size and int(array.max()) >= 2**63):
            raise ValueError(f"{where} is damaged: {name} is {array.dtype} {list(array.shape)}.")
    return header, {name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}

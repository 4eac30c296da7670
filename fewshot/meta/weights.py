"""Weights in files: safetensors with a digest in the header, so that damage is noticed when they are read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from episodes.files import read_bounded, write_atomically
from episodes.identity import digest
from episodes.schema import field, parse_json

LARGEST = 2**40  # bytes of a file of weights
_HEADER = 2**27  # bytes of its header


def save_weights(learner: nn.Module, path: str | os.PathLike[str], **notes: str) -> str:
    """Write a learner's weights, with its spec string, a digest of them, and notes in the header.

    Tensors that are one in the learner are written once.

    Args:
        learner: what holds the weights.
        path: the file, which is replaced if it is there.
        **notes: what else the header says, by name.

    Returns:
        The digest.

    Raises:
        ValueError: the learner keeps a state that is no tensor.
    """
    tensors = tensors_of(learner)
    found = digest(tensors)
    # One note: the writer puts several in any order, and the same weights shall make the same file.
    head = {"fewshot": json.dumps({"learner": repr(learner), "digest": found, **notes})}
    write_atomically(Path(path), serialised(tensors, head))
    return found


def load_weights(learner: nn.Module | str, path: str | os.PathLike[str]) -> nn.Module:
    """Read weights that `save_weights` wrote into a learner, or into the one that a spec names; returns the learner.

    Args:
        learner: it, whose weights are replaced, or the spec of a new one.
        path: the file.

    Raises:
        ValueError: they are of another learner, or the file is damaged; the learner is as it was then.
        FileNotFoundError: there is no such file.
    """
    if isinstance(learner, str):
        from fewshot.learners import load_learner

        learner = load_learner(learner)
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there are no weights {str(path)!r}.")
    tensors, notes = read_tensors(read_bounded(path, LARGEST), repr(str(path)))
    if "digest" in notes and notes["digest"] != digest(tensors):
        raise ValueError(
            f"{str(path)!r} is damaged: its tensors are not those that were written. Restore it from a copy, or train "
            "again."
        )
    before = {name: value.clone() for name, value in tensors_of(learner).items()}
    try:
        put_tensors(learner, tensors)
    except RuntimeError as error:
        put_tensors(learner, before)
        made = notes.get("learner", "another learner")
        raise ValueError(f"{str(path)!r} holds weights of {made}, which do not fit {learner!r}: {error}") from None
    return learner


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """What a module keeps, in host memory; what several of its names share stands under the first.

    Raises:
        ValueError: it keeps something that is no tensor.
    """
    found, seen = {}, set()
    for name, value in module.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{type(module).__name__} keeps {name!r}, a {type(value).__name__}, beside its weights; files of "
                "weights hold tensors only: make it a buffer."
            )
        if id(value) not in seen:
            seen.add(id(value))
            found[name] = value.detach().cpu().contiguous()
    return found


def put_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `tensors_of` took from such a module.

    Raises:
        RuntimeError: names or shapes differ.
    """
    own: dict[int, str] = {}
    whole = dict(tensors)
    for name, value in module.state_dict(keep_vars=True).items():
        first = own.setdefault(id(value), name)
        if name not in whole and first in whole:
            whole[name] = whole[first]
    module.load_state_dict(whole)


def serialised(tensors: Mapping[str, Tensor], head: dict[str, str]) -> bytes:
    """A safetensors file."""
    from safetensors.torch import save

    held: set[int] = set()
    apart = {}
    for name, value in tensors.items():  # the format has no views of one memory
        storage = value.untyped_storage().data_ptr()
        apart[name] = value.clone() if storage in held else value
        held.add(storage)
    content: bytes = save(apart, head)
    return content


def read_tensors(content: bytes, where: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and notes of such a file.

    Raises:
        ValueError: it is no such file, or cut short; the message begins with `where`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 0 < size <= min(_HEADER, len(content) - 8):
        raise ValueError(f"{where} is damaged or cut short: it is no file of weights (safetensors).")
    header = parse_json(content[8 : 8 + size], where)
    head = field(header, "__metadata__", dict, where, default={}, each=str)
    notes = parse_json(field(head, "fewshot", str, where, default="{}"), f"{where}, the note 'fewshot',")
    if not isinstance(notes, dict):
        raise ValueError(f"{where}: the note 'fewshot' must hold an object.")
    try:
        return load(content), notes
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"{where} is damaged or cut short ({error}); restore it from a copy, or train again."
        ) from None

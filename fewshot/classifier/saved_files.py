"""Reading a saved classifier: two files that may be damaged or come from anywhere, each field checked."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.files import read_bounded
from episodes.schema import field, read_json

FORMAT = 2  # 1 did not keep what the encoder's identity consists of
KINDS = ("FewShotClassifier", "ZeroShotClassifier")
_MODEL_LIMIT = 2**36  # bytes; examples and the weights of a learner
_DTYPE = re.compile(r"[<>|=]?([biufUO])(\d{0,6})")
_LINE = ((str,), (int,), (int, float))  # text, number of the class, weight
_LABELS = (str, int, float, bool)


def read_config(folder: Path, kind: str = KINDS[0]) -> dict[str, Any]:
    """The fields of ``config.json`` of a classifier of that kind, each of its type.

    Raises:
        ValueError: it is missing, damaged, or of a later version; the message names file and field.
    """
    path = folder / "config.json"
    where = repr(str(path))
    config = _present(folder, kind, lambda: read_json(path))
    if not isinstance(config, dict) or config.get("kind") != kind:
        found = config.get("kind") if isinstance(config, dict) else None
        other = f" It is that of a {found}: use {found}.load." if found in KINDS else ""
        raise ValueError(f"config.json in {str(folder)!r} is not that of a {kind}.{other}")
    number = field(config, "format", int, where, least=1, most=10**6)
    if number > FORMAT:
        raise ValueError(
            f"{str(folder)!r} has format {number}, written by fewshot "
            f"{field(config, 'fewshot', str, where, default='?')[:40]}; this version reads formats up to {FORMAT}. "
            "Upgrade fewshot."
        )
    null = type(None)
    found = {
        "format": number,
        "learner": field(config, "learner", str, where),
        "encoder": _encoder(field(config, "encoder", (str, dict, null), where), where),
        "encoder_identity": field(config, "encoder_identity", (str, null), where),
        "encoder_sha256": field(config, "encoder_sha256", (str, null), where, default=None),
        "encoder_fingerprint": field(config, "encoder_fingerprint", (dict, null), where, default=None),
        "classes": _classes(config, where),
        "temperature": field(config, "temperature", float, where, least=np.finfo(np.float64).tiny),
        "reject": field(config, "reject", (float, null), where),
        "reject_label": field(config, "reject_label", (*_LABELS, null), where),
        "calibrated": field(config, "calibrated", bool, where, default=True),
        "seen": field(config, "seen", (str, null), where, default=None),
        "feature_names": field(config, "feature_names", list, where, each=str),
        "model_sha256": field(config, "model_sha256", str, where),
    }
    if kind == KINDS[0]:
        strategy = field(config, "strategy", (str, null), where, default=None)
        return {**found, "strategy": strategy, "tuning": field(config, "tuning", (dict, null), where, default=None)}
    return {**found, **_words(config, where, len(found["classes"]))}


def _words(config: dict[str, Any], where: str, classes: int) -> dict[str, Any]:
    """What a zero-shot classifier keeps besides."""
    null = type(None)
    lines = field(config, "lines", list, where, each=list)
    for line in lines:
        if len(line) != 3 or [type(part) in kinds for part, kinds in zip(line, _LINE, strict=True)] != [True] * 3:
            raise ValueError(f"{where}: the field 'lines' holds {str(line)[:80]}; it must be [text, class, weight].")
        if not 0 <= line[1] < classes or not np.isfinite(line[2]):
            raise ValueError(f"{where}: the field 'lines' holds a class or weight out of range: {str(line)[:80]}.")
    return {
        "task": field(config, "task", (str, null), where),
        "weighting": field(config, "weighting", (str, null), where),
        "correct_bias": field(config, "correct_bias", bool, where),
        "multi_label": field(config, "multi_label", bool, where),
        "threshold": field(config, "threshold", float, where),
        "none": field(config, "none", (str, list, bool, null), where),
        "templates": field(config, "templates", (str, list, null), where),
        "descriptions": field(config, "descriptions", (dict, null), where),
        "words": field(config, "words", list, where, each=str, least=classes, most=classes),
        "lines": lines,
        "least_fit": field(config, "least_fit", list, where, each=float, least=2, most=2),
    }


def read_model(folder: Path, config: dict[str, Any], kind: str = KINDS[0]) -> dict[str, Tensor]:
    """The tensors of ``model.safetensors``: examples ``support [S, D]``, their ``labels``, the learner's weights.

    Raises:
        ValueError: it is missing, damaged, or does not belong to the config.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    path = folder / "model.safetensors"
    content = _present(folder, kind, lambda: read_bounded(path, _MODEL_LIMIT))
    if hashlib.sha256(content).hexdigest() != config["model_sha256"]:
        raise ValueError(
            f"model.safetensors in {str(folder)!r} is not the one that config.json was written for; "
            "one of them is damaged or from another save. Save the classifier again."
        )
    try:
        tensors = from_bytes(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{str(path)!r} is no readable safetensors file: {error}") from None
    where = f"{str(path)!r}: the tensor"
    several = bool(config.get("multi_label"))  # labels of each class apart
    floats = (torch.float32, torch.float64)
    wanted = [("support", floats, 2), ("labels", (torch.int64,), 2 if several else 1)]
    wanted += [("text", floats, 2)] if kind == KINDS[1] else []
    wanted += [("unlabelled", floats, 2)] if "unlabelled" in tensors else []
    for name, types, ndim in wanted:
        if name not in tensors:
            raise ValueError(f"{where} {name!r} is missing.")
        held = tensors[name]
        if held.dtype not in types or held.ndim != ndim or (kind == KINDS[0] and not len(held)):
            given = f"{str(held.dtype).removeprefix('torch.')} {list(held.shape)}"
            raise ValueError(f"{where} {name!r} is {given}; it must be {' or '.join(map(str, types))} of {ndim} axes.")
    support, labels = tensors["support"], tensors["labels"]
    ways = 2 if several else len(config["classes"])
    low = -1 if several else 0  # -1: what is not known of an example
    outside = labels.numel() > 0 and bool(labels.min() < low or labels.max() >= ways)
    if labels.shape[-1] != len(support) or outside:
        raise ValueError(f"{where} 'labels' does not number the {len(config['classes'])} classes of its examples.")
    named = len(config["feature_names"])
    if any(value.is_floating_point() and not value.isfinite().all() for value in tensors.values()) or (
        named not in (0, support.shape[1]) or tensors.get("unlabelled", support).shape[1] != support.shape[1]
    ):
        raise ValueError(
            f"{where} 'support' is not finite, or has other columns than config.json names or 'unlabelled' has."
        )
    return tensors


def _present(folder: Path, kind: str, read: Any) -> Any:
    try:
        return read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(
            f"{str(folder)!r} is not a saved classifier: {Path(error.filename).name} is missing; "
            f"give the folder that `fewshot fit` or {kind}.save wrote."
        ) from None
    except OSError as error:
        raise ValueError(f"{error.filename!r} cannot be read: {error.strerror}.") from None


def _encoder(encoder: Any, where: str) -> Any:
    return {"object": field(encoder, "object", str, where)} if isinstance(encoder, dict) else encoder


def _classes(config: dict[str, Any], where: str) -> np.ndarray:
    """The classes as an array of the type they were fitted with."""
    classes = field(config, "classes", list, where, each=_LABELS, least=1)
    name = field(config, "classes_dtype", str, where)
    match = _DTYPE.fullmatch(name)
    if match is None:
        raise ValueError(f"{where} says that classes are {name[:40]!r}, which labels never are.")
    longest = max(len(one) if isinstance(one, str) else 1 for one in classes)
    if match[1] == "U" and int(match[2] or 0) > max(longest, 1024):
        raise ValueError(
            f"{where}: the field 'classes_dtype' asks for {match[2]} characters, its classes have {longest}."
        )
    try:
        found = np.array(classes, dtype=np.dtype(name))
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise ValueError(f"{where}: the field 'classes' cannot be {name[:40]!r}: {error}.") from None
    if found.tolist() != classes or len(set(classes)) != len(classes):
        raise ValueError(f"{where}: the field 'classes' holds a label twice, or one that is no {name[:40]!r}.")
    return found

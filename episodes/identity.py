"""Identity by value: two things are the same if and only if they behave the same, in every process."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_REMEDY = "give version='...' where it is accepted and change it whenever the thing changes, or cache=False."


class UnknownIdentityError(ValueError):
    """Something has no identity that holds across processes; nothing is guessed in its place."""


def canonical(value: Any) -> bytes:
    """JSON values as bytes that do not depend on the order of keys.

    Raises:
        UnknownIdentityError: a value that is not JSON (a set, an object, NaN).
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UnknownIdentityError(f"not plain JSON values ({error}): {str(value)[:200]}") from None
    return text.encode()


def digest(value: Any) -> str:
    """32 hexadecimal digits that stand for `describe` of a value: equal digests, equal behaviour.

    Raises:
        UnknownIdentityError: see `describe`.
    """
    return hashlib.sha256(canonical(describe(value))).hexdigest()[:32]


def digest_array(array: Tensor | np.ndarray[Any, Any]) -> str:
    """SHA-256 over type, shape and bytes of a tensor or array, in row order and little-endian."""
    if isinstance(array, Tensor):
        head, flat = f"{array.dtype}{list(array.shape)}", array.detach().cpu().contiguous().reshape(-1)
        data: Any = flat.view(torch.uint8).numpy().data if flat.numel() else b""
    else:
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        head, data = (
            f"{array.dtype.str}{list(array.shape)}",
            array.reshape(-1).view(np.uint8).data if array.size else b"",
        )
    found = hashlib.sha256(head.encode())
    found.update(data)
    return found.hexdigest()[:32]


def digest_weights(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters and buffers, wherever they were loaded from."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if not isinstance(value, Tensor):
            part = canonical(describe(value))
            digest.update(f"{name}\0{len(part)}\0".encode() + part)
            continue
        head = f"{name}\0{value.dtype}\0{list(value.shape)}".encode()
        digest.update(f"{len(head)}\0".encode() + head)
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def describe(value: Any) -> Any:
    """A transform, function or setting as JSON values, by value: equal descriptions compute the same.

    Handles plain values, containers, enumerations, dataclasses, `functools.partial`, modules (torchvision's
    transforms among them), functions by name and source, and objects of classes with source by their
    attributes. Closures are described through the values they hold.

    Raises:
        UnknownIdentityError: source or state cannot be read, or a value is neither of these.
    """
    return _describe(value, ())


def _describe(value: Any, outer: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value.name if isinstance(value, enum.Enum) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if id(value) in outer:
        raise UnknownIdentityError(f"{type(value).__name__} contains itself; {_REMEDY}")
    inner = (*outer, id(value))
    if isinstance(value, enum.Enum):
        return [_name(type(value)), value.name]
    if isinstance(value, (list, tuple)):
        return [_describe(item, inner) for item in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(canonical(_describe(item, inner)).decode() for item in value)}
    if isinstance(value, Mapping):
        pairs = [[_describe(k, inner), _describe(v, inner)] for k, v in value.items()]
        return {"map": sorted(pairs, key=canonical)}
    if isinstance(value, bytes):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, PurePath):
        return {"path": value.as_posix()}
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return {"tensor": digest_array(np.asarray(value) if isinstance(value, np.generic) else value)}
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value)
    if isinstance(value, functools.partial):
        return {"partial": _describe(value.func, inner), "args": _describe(value.args, inner),
                "keywords": _describe(value.keywords, inner)}  # fmt: skip
    if isinstance(value, type):
        return {"class": _name(value), "source": _source(value)}
    if isinstance(value, MethodType):
        return {"method": value.__name__, "of": _describe(value.__self__, inner)}
    if isinstance(value, (BuiltinFunctionType, np.ufunc)):
        return {"builtin": f"{getattr(value, '__module__', '')}.{value.__name__}"}
    if isinstance(value, FunctionType):
        return _function(value, inner)
    return _object(value, inner)


def _function(value: FunctionType, outer: tuple[int, ...]) -> Any:
    held = [cell.cell_contents for cell in value.__closure__ or ()]
    described = {"function": _name(value), "source": _source(value)}
    if held:
        described["holds"] = _describe(held, outer)
    if value.__defaults__ or value.__kwdefaults__:
        described["defaults"] = _describe([list(value.__defaults__ or ()), value.__kwdefaults__ or {}], outer)
    return described


def _object(value: Any, outer: tuple[int, ...]) -> Any:
    cls = type(value)
    described: dict[str, Any] = {"class": _name(cls), "source": _source(cls)}
    if dataclasses.is_dataclass(value):
        state: dict[str, Any] = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif hasattr(value, "__dict__"):
        state = {name: part for name, part in vars(value).items() if not _bookkeeping(value, name)}
    else:
        raise UnknownIdentityError(f"{_name(cls)} shows no state to describe; {_REMEDY}")
    described["state"] = _describe(state, outer)
    if isinstance(value, nn.Module):
        described["weights"] = digest_weights(value)
    return described


def _bookkeeping(value: Any, name: str) -> bool:
    # Hooks and tables of a module say nothing about what it computes; its weights are digested apart.
    return isinstance(value, nn.Module) and (
        name in ("_parameters", "_buffers") or (name.startswith("_") and name.endswith("hooks"))
        or name in ("_non_persistent_buffers_set", "_is_full_backward_hook", "_forward_hooks_with_kwargs",
                    "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")
    )  # fmt: skip


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _source(value: Any) -> str:
    """Digest of the source text, and for classes of installed packages of their version-bearing source alone."""
    try:
        text = inspect.getsource(value)
    except (OSError, TypeError):
        raise UnknownIdentityError(f"the source of {_name(value)} cannot be read; {_REMEDY}") from None
    return hashlib.sha256(text.encode()).hexdigest()[:16]

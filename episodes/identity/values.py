"""`describe` and `digest`: any value as JSON values that are equal where it behaves the same."""

from __future__ import annotations

import enum
import functools
import hashlib
import logging
import math
import re
import threading
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, GenericAlias, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from episodes.identity.code import (
    Library,
    describe_class,
    describe_function,
    describe_library,
    describe_package,
    is_library,
    version_of,
)
from episodes.identity.content import REMEDY, UnknownIdentityError, array_content, canonical, digest_array, xxh3
from episodes.identity.modules import ORIGIN, Attribute, Part, computed_names, describe_module
from episodes.identity.tokenizers import describe_tokenizer, is_tokenizer

_PLAIN = (type(None), bool, int, str)
_TENSORS = (Tensor, nn.Parameter, getattr(nn, "Buffer", nn.Parameter))
_INERT = (logging.Logger, logging.LoggerAdapter, type(threading.Lock()), type(threading.RLock()), threading.local)
_DESCRIPTORS = tuple({type(str.join), type(object.__init__), type(object().__str__), type(dict.__dict__["fromkeys"])})


def describe(value: Any) -> Any:
    """Anything as JSON values, by value: equal descriptions compute the same.

    Handles plain values, containers, arrays and tensors, enumerations, functions and lambdas (with what they hold
    and call), `functools.partial`, bound methods, classes, modules with hooks and settings at every depth, and
    objects by their class and attributes or, where a library hides these, by what `copy` would copy.

    Raises:
        UnknownIdentityError: state cannot be read; the message names where, and what to do.
    """
    return _Describer()(value)


def digest(value: Any) -> str:
    """32 hexadecimal digits that stand for `describe` of a value: equal digests, equal behaviour.

    Raises:
        UnknownIdentityError: see `describe`.
    """
    return hashlib.sha256(canonical(describe(value))).hexdigest()[:32]


def digest_weights(module: nn.Module) -> str:
    """A digest over names, types, shapes and bytes of all parameters and buffers, also those that are not saved."""
    saved, pieces = module.state_dict(), []
    tensors: dict[str, Any] = {**dict(module.named_parameters()), **dict(module.named_buffers()), **saved}
    for name, value in sorted(tensors.items()):
        if isinstance(value, Tensor):
            head, parts = array_content(value)
        else:  # what a module saves beside tensors, such as packed weights of a quantised layer
            head, parts = b"extra", [canonical(describe(value))]
        pieces += [name.encode(), head, *parts]
    return xxh3(*pieces)


def describe_architecture(module: nn.Module) -> dict[str, str]:
    """What a network computes apart from its weights, in two words: its class, and a digest of all the rest.

    Raises:
        UnknownIdentityError: see `describe`.
    """
    content = canonical(_Describer()(Part(module)))
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    return {"class": name, "digest": hashlib.sha256(content).hexdigest()[:32]}


class _Describer:
    """One description: what is being described (for cycles), and what has been (code is described once)."""

    def __init__(self) -> None:
        self.open: dict[int, str] = {}  # id -> name, from the outermost value inwards
        self.trail: list[str] = []
        self.in_code = 0  # how many functions and classes are being described
        self.done: dict[int, tuple[Any, Any]] = {}  # the value is kept, so that its id stays its own

    def __call__(self, value: Any) -> Any:
        if value is None or (isinstance(value, (bool, int, str)) and not isinstance(value, enum.Enum)):
            return value if type(value) in _PLAIN else self._plain(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"float": str(float(value))}
        if isinstance(value, Attribute):
            self.trail.append(value.name)
            described = self(value.value)
            self.trail.pop()
            return described
        if isinstance(value, Part):
            return self._part(value.module)
        if id(value) in self.open:
            return {"again": self.open[id(value)]}
        if id(value) in self.done:
            return self.done[id(value)][1]
        self.open[id(value)] = type(value).__name__ if not hasattr(value, "__qualname__") else str(value.__qualname__)
        try:
            described = self._container(value)
        except RecursionError:
            raise UnknownIdentityError(f"{type(value).__name__} is nested too deeply; {REMEDY}") from None
        finally:
            del self.open[id(value)]
        if isinstance(value, (FunctionType, type, nn.Module)) and not _short(described):
            described = {"is": hashlib.sha256(canonical(described)).hexdigest()[:32]}
            self.done[id(value)] = value, described
        return described

    @contextmanager
    def _reading_code(self) -> Iterator[None]:
        self.in_code += 1
        try:
            yield
        finally:
            self.in_code -= 1

    def _part(self, module: nn.Module) -> Any:
        if id(module) in self.open:
            return {"again": self.open[id(module)]}
        self.open[id(module)] = type(module).__qualname__
        try:
            return describe_module(module, self)
        finally:
            del self.open[id(module)]

    def _container(self, value: Any) -> Any:
        kind = type(value)
        if kind in (list, tuple):
            return [self(item) for item in value]
        if kind in (set, frozenset):
            return {"set": sorted((self(item) for item in value), key=canonical)}
        if kind is dict or kind.__name__ == "mappingproxy":
            return self._mapping(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return {"bytes": hashlib.sha256(value).hexdigest()}
        if isinstance(value, (complex, range, slice)) or value is Ellipsis or value is NotImplemented:
            return {kind.__name__: repr(value)}
        if isinstance(value, enum.Enum):
            return {"enum": f"{kind.__module__}.{kind.__qualname__}", "name": value.name, "value": self(value.value)}
        if isinstance(value, PurePath):
            return {"path": value.as_posix()}
        if isinstance(value, (Tensor, np.ndarray, np.generic)):
            return self._numbers(value)
        if isinstance(value, (torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size, np.dtype)):
            return {kind.__name__: str(value)}
        if isinstance(value, re.Pattern):
            return {"pattern": self(value.pattern), "flags": value.flags}
        if isinstance(value, torch.Generator):
            return {"generator": digest_array(value.get_state())}
        if isinstance(value, (np.random.Generator, np.random.BitGenerator)):
            source = value.bit_generator if isinstance(value, np.random.Generator) else value
            return {"generator": self(source.state)}
        if isinstance(value, ContextVar):
            return {"context": value.name}
        if isinstance(value, _INERT):
            return {"inert": kind.__name__}
        return self._behaviour(value)

    def _behaviour(self, value: Any) -> Any:
        """Things that are called, and objects."""
        if type(value) is object and self.in_code:
            return {"sentinel": True}  # compared by identity, under the name by which code refers to it
        if isinstance(value, functools.partial):
            return {"partial": self(value.func), "args": self(value.args), "keywords": self(value.keywords)}
        if isinstance(value, functools._lru_cache_wrapper):
            return {"cached": self(value.__wrapped__)}
        if isinstance(value, (GenericAlias, typing.TypeVar)) or type(value).__module__ == "typing":
            return {"type": repr(value)}
        if isinstance(value, type):
            with self._reading_code():
                return describe_class(value, self)
        if isinstance(value, MethodType):
            return {"method": self(value.__func__), "of": self(value.__self__)}
        if isinstance(value, FunctionType):
            with self._reading_code():
                return describe_function(value, self)
        if isinstance(value, Library):
            return describe_library(value)
        if isinstance(value, ModuleType):
            return describe_package(value, self)
        if isinstance(value, BuiltinFunctionType):
            owner = value.__self__
            of = None if owner is None or isinstance(owner, ModuleType) else self(owner)
            home = str(getattr(value, "__module__", "") or "")
            return {"builtin": f"{home}.{value.__name__}", "of": of, "version": version_of(home) if home else ""}
        if isinstance(value, np.ufunc):
            return {"builtin": f"numpy.{value.__name__}"}
        if isinstance(value, _DESCRIPTORS):
            owner = value.__objclass__
            return {"builtin": f"{owner.__module__}.{owner.__qualname__}.{value.__name__}"}
        if is_tokenizer(value):
            return describe_tokenizer(value)
        if hasattr(type(value), "fingerprint"):  # sources and encoders have their own identity
            own = value.fingerprint
            return {"kind": type(value).__qualname__, "fingerprint": self(own() if callable(own) else own)}
        if isinstance(value, nn.Module):
            return {**describe_module(value, self), "weights": digest_weights(value)}
        return self._object(value)

    def _plain(self, value: Any) -> Any:
        """A string or number of a class of its own."""
        base = next(kind for kind in (bool, int, str) if isinstance(value, kind))
        return base(value) if is_library(type(value).__module__) else {"of": self(type(value)), "value": base(value)}

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        pairs = [[self(key), self(Attribute(str(key), item))] for key, item in value.items()]
        return {"map": sorted(pairs, key=canonical)}

    def _numbers(self, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            return {"objects": list(value.shape), "items": [self(item) for item in value.reshape(-1).tolist()]}
        if isinstance(value, np.generic):
            value = np.asarray(value)
        described: dict[str, Any] = {"tensor": digest_array(value)}
        if isinstance(value, Tensor) and type(value) not in _TENSORS:
            described["class"] = self(type(value))
        return described

    def _object(self, value: Any) -> Any:
        kind = type(value)
        skipped = ORIGIN if is_library(kind.__module__) else set()
        state = {name: part for name, part in _attributes(value) if name not in skipped}
        items = self._items(value, kind)
        if not state and not items and not hasattr(value, "__dict__"):
            return self._reduced(value)
        if is_library(kind.__module__) and not hasattr(value, "__dict__") and not hasattr(kind, "__slots__"):
            return self._reduced(value)
        described = {"of": self(kind), **items}
        if state:
            described["state"] = {name: self(Attribute(name, part)) for name, part in state.items()}
        return described

    def _items(self, value: Any, kind: type) -> dict[str, Any]:
        """What a container of a class of its own holds."""
        if isinstance(value, Mapping) and isinstance(value, dict):
            return self._mapping(value)
        if isinstance(value, (list, tuple)):
            return {"items": [self(item) for item in value]}
        if isinstance(value, (set, frozenset)):
            return {"set": sorted((self(item) for item in value), key=canonical)}
        return {}

    def _reduced(self, value: Any) -> Any:
        """An object without visible attributes, by what `copy` would make a copy of it from."""
        kind = type(value)
        where = f" (at {'.'.join(self.trail)})" if self.trail else ""
        name = f"{kind.__module__}.{kind.__qualname__}"
        refusal = f"{name}{where} shows no state that distinguishes it from others; {REMEDY}"
        if kind is object or hasattr(value, "__next__"):
            raise UnknownIdentityError(refusal)
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:  # whatever a library raises for what it does not copy
            raise UnknownIdentityError(refusal) from None
        if isinstance(reduced, str):
            return {"global": f"{kind.__module__}.{reduced}", "version": version_of(kind.__module__)}
        parts = [list(part) if isinstance(part, Iterator) else part for part in reduced]
        if getattr(parts[0], "__name__", "") == "__newobj__" and not any(parts[1][1:]) and not any(parts[2:]):
            if is_library(kind.__module__):
                raise UnknownIdentityError(refusal)
            return {"of": self(kind)}
        return {"of": self(kind), "made": [self(part) for part in parts]}


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, in its dictionary and in slots, less what it has only computed from the rest."""
    computed = computed_names(type(value))
    if isinstance(value, SimpleNamespace):
        yield from vars(value).items()
        return
    for name, part in getattr(value, "__dict__", {}).items():
        if name not in computed:
            yield name, part
    for base in type(value).__mro__:
        names = vars(base).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            own = f"_{base.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            if own not in ("__dict__", "__weakref__") and hasattr(value, own):
                yield own, getattr(value, own)


def _short(described: Any) -> bool:
    return isinstance(described, dict) and set(described) <= {"library", "version", "again"}

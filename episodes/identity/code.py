"""What a function or class does: its compiled code, what it holds, and the project's own code that it calls."""

from __future__ import annotations

import builtins
import dis
import functools
import importlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import PurePath
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any

from episodes.identity.content import xxh3
from episodes.identity.generated import fields_of, is_generated

OURS = ("episodes", "fewshot")
# What learners, adapters and networks of this library compute is known by its code; all around it by the version alone.
_BY_CODE = (
    "fewshot.adaptation", "fewshot.learner", "fewshot.learners", "fewshot.maths", "fewshot.nets",
    "fewshot.transfer.learner", "fewshot.transfer.pmf", "fewshot.transforms", "fewshot.zsl",
)  # fmt: skip
_STANDARD = tuple({os.path.dirname(os.__file__), sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_BOOKKEEPING = {
    "__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "__annotations__", "__annotate__",
    "__annotate_func__", "__annotations_cache__", "__static_attributes__", "__firstlineno__", "__abstractmethods__",
    "__dataclass_params__", "__match_args__", "__orig_bases__", "__parameters__", "__type_params__", "_abc_impl",
    "_is_protocol", "_is_runtime_protocol", "__protocol_attrs__", "__non_callable_proto_members__", "__hash__",
    "__subclasshook__", "__class_getitem__", "__slotnames__", "__getnewargs__",
    "_sklearn_output_config", "_sklearn_auto_wrap_output_keys",
}  # fmt: skip
# What torch keeps from its compiler computes as before; it wraps its own functions so once the compiler is imported.
_NOT_COMPILED = "torch._compile"
_MISSING = object()
Describe = Callable[[Any], Any]


@functools.lru_cache(maxsize=4096)
def is_library(module: str) -> bool:
    """Whether code of a module is known by name and version: the standard library and installed packages."""
    top = module.partition(".")[0]
    if top in OURS:
        return not f"{module}.".startswith(tuple(f"{name}." for name in _BY_CODE))
    if top in ("__main__", "__mp_main__"):
        return False
    loaded = getattr(sys.modules.get(top), "__file__", None)
    if top in sys.stdlib_module_names and (loaded is None or loaded.startswith(_STANDARD)):
        return True  # but a project's own file may have the name of one: profile.py, statistics.py
    file = loaded or _origin(top)
    return file is not None and not {"site-packages", "dist-packages"}.isdisjoint(PurePath(file).parts)


def _origin(top: str) -> str | None:
    package = sys.modules.get(top)
    places = list(getattr(package, "__path__", []))  # a namespace package has no file of its own
    if places:
        return str(places[0])
    try:
        found = importlib.util.find_spec(top) if top and package is None else None
    except (ImportError, ValueError):
        return None
    return found.origin if found else None


@functools.lru_cache(maxsize=1024)
def version_of(module: str) -> str:
    """The version of the package that a module belongs to; of Python for its standard library."""
    from importlib import metadata

    top = module.partition(".")[0]
    if top in OURS:  # one distribution
        top = "fewshot"
    if top in sys.stdlib_module_names:
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        return metadata.version(top)
    except (metadata.PackageNotFoundError, ValueError):  # a distribution of another name, as pillow is of PIL
        return "+".join(sorted({metadata.version(name) for name in _distributions().get(top, ())}))


@functools.lru_cache(maxsize=1)
def _distributions() -> Any:
    from importlib import metadata

    return metadata.packages_distributions()


def describe_function(function: FunctionType, describe: Describe) -> dict[str, Any]:
    """Code, defaults, cells, attributes, and every global that the code reads; of libraries name and version."""
    home = str(function.__globals__.get("__name__", ""))
    if home == _NOT_COMPILED and hasattr(function, "__wrapped__"):
        inner: dict[str, Any] = describe(function.__wrapped__)
        return inner
    if is_library(home):
        described: dict[str, Any] = {"library": f"{home}.{function.__qualname__}", "version": version_of(home)}
        settings = {}
    else:
        described = {"function": function.__name__, "code": code_digest(function.__code__)}
        settings = {"uses": _globals_read(function, describe)}
        if vars(function):
            settings["attributes"] = {
                name: describe(value) for name, value in vars(function).items() if name != "__wrapped__"
            }
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    settings["holds"] = {name: describe(_inside(cell)) for name, cell in cells}
    if function.__defaults__ or function.__kwdefaults__:
        settings["defaults"] = describe([list(function.__defaults__ or ()), function.__kwdefaults__ or {}])
    return {**described, **{name: value for name, value in settings.items() if value}}


def describe_class(kind: type, describe: Describe, *, versions: bool = True) -> dict[str, Any]:
    """The members of a class and of its bases outside the libraries; a library's class is a name and a version."""
    if is_library(kind.__module__):
        described = {"library": f"{kind.__module__}.{kind.__qualname__}"}
        return {**described, "version": version_of(kind.__module__)} if versions else described
    members = {
        name: describe(value)
        for name, value in ((name, _member(kind, name, value)) for name, value in vars(kind).items())
        if value is not _MISSING
    }
    bases = [describe(base) for base in kind.__mro__[1:] if base is not object]
    version = version_of(kind.__module__) if kind.__module__.partition(".")[0] in OURS else ""
    return {"class": kind.__qualname__, "members": members, "bases": bases, "version": version}


def describe_package(module: ModuleType, describe: Describe) -> dict[str, Any]:
    """A module that is used as a value: of a library name and version, of a project all that is defined in it."""
    if is_library(module.__name__):
        return {"library": module.__name__, "version": version_of(module.__name__)}
    held = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    return {"module": {name: describe(value) for name, value in held.items()}}


@functools.lru_cache(maxsize=8192)
def code_digest(code: CodeType) -> str:
    """Compiled code without file, lines and comments; another release of Python may compile otherwise."""
    numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    table = getattr(code, "co_exceptiontable", b"")
    constants = _constants(code.co_consts)
    return xxh3(importlib.util.MAGIC_NUMBER, code.co_code, table, repr((numbers, names)).encode(), constants.encode())


def _constants(value: Any) -> str:
    if isinstance(value, CodeType):
        return f"code {code_digest(value)}"
    if isinstance(value, tuple):
        return f"({', '.join(_constants(item) for item in value)})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(_constants(item) for item in value))}}}"
    return f"{type(value).__name__} {value!r}"


def _member(kind: type, name: str, value: Any) -> Any:
    """What a class member adds to behaviour, or `_MISSING`."""
    if isinstance(value, (MemberDescriptorType, GetSetDescriptorType)) or type(value).__name__ == "_tuplegetter":
        return _MISSING  # a slot; its name is in __slots__ or _fields
    if name == "__dataclass_fields__":
        return fields_of(value)
    if isinstance(value, (staticmethod, classmethod)):
        return [type(value).__name__, value.__func__]
    if isinstance(value, property):
        return ["property", value.fget, value.fset, value.fdel]
    if isinstance(value, functools.cached_property):
        return ["cached_property", value.func]
    if isinstance(value, FunctionType) and is_generated(kind, name, value):
        return _MISSING
    return _MISSING if name in _BOOKKEEPING else value


def _inside(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not filled yet


def _globals_read(function: FunctionType, describe: Describe) -> dict[str, Any]:
    """What the code reads by name from outside itself, by dotted name."""
    found: dict[str, Any] = {}
    for path in _names_read(function.__code__, str(function.__globals__.get("__package__") or "")):
        name, value = _resolve(path, function.__globals__)
        if value is not _MISSING and name not in found:
            found[name] = describe(value)
    return found


def _resolve(path: tuple[str, ...], names: dict[str, Any]) -> tuple[str, Any]:
    """The value behind a dotted name, followed as far as it leads through modules."""
    if path[0].startswith("import "):
        start = path[0].removeprefix("import ")
        if is_library(start):
            return ".".join((start, *path[1:])), Library(start, path[1:])
        try:
            value: Any = importlib.import_module(start)
        except ImportError:
            return start, _MISSING
    else:
        value = names.get(path[0], _MISSING)
        if value is _MISSING:  # a builtin is known by its name, which the code holds
            return path[0], _MISSING
        if getattr(builtins, path[0], _MISSING) is value:
            return path[0], _MISSING
    done = 1
    while isinstance(value, ModuleType) and done < len(path):
        inner = getattr(value, path[done], _MISSING)
        if inner is _MISSING:
            break
        value, done = inner, done + 1
    return ".".join(path[:done]), value


class Library:
    """Names that a function imports from a library when it runs: nothing need be imported to know them."""

    def __init__(self, module: str, names: tuple[str, ...]) -> None:
        self.module, self.names = module, names


def describe_library(library: Library) -> dict[str, Any]:
    """Name and version."""
    return {"library": ".".join((library.module, *library.names)), "version": version_of(library.module)}


@functools.lru_cache(maxsize=4096)
def _names_read(code: CodeType, package: str) -> tuple[tuple[str, ...], ...]:
    """`_paths` in order, each once; code never changes, and is disassembled once."""
    return tuple(sorted(set(_paths(code, package))))


def _paths(code: CodeType, package: str) -> Iterator[tuple[str, ...]]:
    """Dotted names that code reads: globals with the attributes taken of them, and what it imports."""
    instructions = list(dis.get_instructions(code))
    for place, step in enumerate(instructions):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            path = [str(step.argval)]
            for after in instructions[place + 1 :]:
                if after.opname in ("CACHE", "PUSH_NULL", "EXTENDED_ARG", "PRECALL", "NOP"):
                    continue
                if after.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                    break
                path.append(str(after.argval))
            yield tuple(path)
        elif step.opname == "IMPORT_NAME":
            module = _absolute(str(step.argval), _level(instructions, place), package)
            names = []
            for after in instructions[place + 1 :]:
                if after.opname == "IMPORT_FROM":
                    names.append(str(after.argval))
                elif not after.opname.startswith(("STORE", "CACHE", "EXTENDED", "COPY", "SWAP", "ROT", "NOP")):
                    break
            if module:
                for chosen in names or [""]:
                    yield tuple(filter(None, (f"import {module}", chosen)))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _paths(constant, package)


def _level(instructions: list[dis.Instruction], place: int) -> int:
    """How many dots an import statement begins with: the constant loaded before the names."""
    loaded = [step.argval for step in instructions[max(0, place - 4) : place] if step.opname.startswith("LOAD_")]
    numbers = [value for value in loaded if isinstance(value, int) and not isinstance(value, bool)]
    return int(numbers[-1]) if numbers else 0


def _absolute(name: str, level: int, package: str) -> str:
    if not level:
        return name
    parts = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*parts, name] if name else parts)

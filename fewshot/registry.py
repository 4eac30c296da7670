"""Names and spec strings: ``"ridge(alpha=0.1)"`` and ``"l2 | prototypes"`` <-> learners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from episodes.registry import Registry as Registry
from episodes.registry import unknown as unknown
from episodes.spec import check_names
from episodes.spec import parse_call as parse_call
from episodes.spec import parse_spec as parse_spec

Kind = TypeVar("Kind")


def argument_names(cls: type) -> list[str]:
    """Names of the arguments of ``cls(...)``; a class without an ``__init__`` of its own has none."""
    import inspect

    call = cls.__init__ if isinstance(cls, type) else cls  # type: ignore[misc]
    parameters = inspect.signature(call).parameters.values()
    catch_all = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.name != "self" and p.kind not in catch_all]


def spec_string(name: str, thing: Any) -> str:
    """The spec of an object: its name, and the arguments that differ from their defaults.

    An argument that no line can spell, such as a network, stands there as its class: ``maml(net=Sequential(...))``.
    """
    import inspect

    defaults = inspect.signature(type(thing).__init__).parameters
    changed = [
        f"{argument}={_one_line(getattr(thing, argument))}"
        for argument in argument_names(type(thing))
        if not _same(getattr(thing, argument), defaults[argument].default)
    ]
    return name + (f"({', '.join(changed)})" if changed else "")


def build(cls: Any, name: str, arguments: Mapping[str, Any]) -> Any:
    """Call ``cls(**arguments)``, naming the allowed arguments where one is unknown.

    Args:
        cls: class or function.
        name: what messages call it.
        arguments: by name.

    Raises:
        ValueError: an unknown argument, or a value of a type that the class cannot use.
        TypeError: an argument that has no default is missing.
    """
    allowed = argument_names(cls)
    old = getattr(getattr(cls, "__init__", None), "old_names", {})  # see `renamed`
    check_names(repr(name), [argument for argument in arguments if argument not in old], allowed)
    try:
        return cls(**arguments)
    except TypeError as error:
        if "required" in str(error):
            raise
        given = ", ".join(f"{argument}={str(value)[:60]!r}" for argument, value in arguments.items())
        raise ValueError(f"{name!r} cannot use {given}: {error}") from error


def build_known(known: Mapping[str, Any], what: str, spec: str) -> Any:
    """What a spec names among known classes, ``"temperature(2)"``; its values may be given with or without names.

    Args:
        known: classes by name.
        what: what messages call them.
        spec: name and arguments.

    Raises:
        ValueError: an unknown name or argument (the message suggests near ones), or one out of range.
    """
    name, positional, named = parse_call(spec)
    if name not in known:
        raise ValueError(unknown(what, name, list(known)))
    return build_call(known[name], name, positional, named)


def load_one(known: Registry, given: Any, kind: type[Kind], argument: str, example: str) -> Kind:
    """What a spec names in a registry: ``"dann(0.5)"``; an instance is returned as it is.

    Args:
        known: classes by name, built-in and installed.
        given: spec or instance.
        kind: class of the instances.
        argument: whose value this is, for messages.
        example: a spec, for messages.

    Raises:
        ValueError: something else, an unknown name or argument (the message suggests near ones), or one out of range.
    """
    if isinstance(given, kind):
        return given
    if not isinstance(given, str):
        raise ValueError(f"{argument}={given!r}; give a spec such as {example!r}: {', '.join(known.names())}.")
    name, positional, named = parse_call(given)
    made: Kind = build_call(known.get(name), name, positional, named)
    return made


def build_call(kind: Any, name: str, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """What a parsed call (`parse_call`) makes of a class.

    Raises:
        ValueError: too many values without names, an unknown argument, or one out of range.
    """
    allowed = argument_names(kind)
    if len(positional) > len(allowed) or set(allowed[: len(positional)]) & set(named):
        raise ValueError(f"{name!r} takes ({', '.join(allowed)}); {len(positional)} were given without a name.")
    return build(kind, name, {**dict(zip(allowed, positional, strict=False)), **named})


def _one_line(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__}(...)" if "\n" in text or " object at 0x" in text else text


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and bool(value == default))

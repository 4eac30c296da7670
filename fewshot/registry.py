"""Names and spec strings: ``"ridge(alpha=0.1)"`` and ``"l2 | prototypes"`` <-> learners."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from typing import Any

from episodes.registry import Registry as Registry
from episodes.registry import unknown as unknown

_LONGEST = 20_000  # characters of a spec


def parse_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Split ``"ridge(alpha=0.1)"`` into ``("ridge", {"alpha": 0.1})``; values are Python literals.

    Raises:
        ValueError: not a name with keyword arguments, or longer than any that people write.

    >>> parse_spec("nearest(k=3, distance='cosine')")
    ('nearest', {'k': 3, 'distance': 'cosine'})
    """
    name, positional, named = parse_call(spec)
    if positional:
        raise ValueError(_UNREADABLE.format(spec))
    return name, named


def parse_call(spec: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Split ``"last(3, lr=1e-4)"`` into ``("last", [3], {"lr": 0.0001})``; values are Python literals.

    Raises:
        ValueError: not a name with arguments.

    >>> parse_call("last(3, lr=1e-4)")
    ('last', [3], {'lr': 0.0001})
    """
    if len(spec) > _LONGEST:
        raise ValueError(f"the spec {spec[:60]!r}... has {len(spec):,} characters; at most {_LONGEST:,} are read.")
    name, bracket, rest = spec.strip().partition("(")
    name = name.strip()
    if not bracket:
        return name, [], {}
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise SyntaxError
        if len({word.arg for word in call.keywords}) < len(call.keywords):
            raise SyntaxError
        positional = [_literal(value) for value in call.args]
        return name, positional, {str(word.arg): _literal(word.value) for word in call.keywords if _named(word)}
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        raise ValueError(_UNREADABLE.format(spec if len(spec) <= 200 else f"{spec[:200]}...")) from None


_UNREADABLE = (
    "cannot read the spec {!r}; write a name with keyword arguments whose values are "
    'Python literals, like "ridge(alpha=0.1)" or "nearest(k=3, distance=\'cosine\')".'
)


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

    Raises:
        ValueError: an unknown argument, or a value of a type that the class cannot use.
        TypeError: an argument that has no default is missing.
    """
    allowed = argument_names(cls)
    old = getattr(getattr(cls, "__init__", None), "old_names", {})  # see `renamed`
    for argument in arguments:
        if argument not in allowed and argument not in old:
            near = difflib.get_close_matches(argument, allowed, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            takes = ", ".join(allowed) if allowed else "no arguments"
            raise ValueError(f"{name!r} has no argument {argument!r}; {hint}It takes: {takes}.")
    try:
        return cls(**arguments)
    except TypeError as error:
        if "required" in str(error):
            raise
        given = ", ".join(f"{argument}={str(value)[:60]!r}" for argument, value in arguments.items())
        raise ValueError(f"{name!r} cannot use {given}: {error}") from error


def _named(word: ast.keyword) -> bool:
    if word.arg is None:
        raise ValueError
    return True


def _literal(node: ast.expr) -> Any:
    return ast.literal_eval(_NonFinite().visit(node))


class _NonFinite(ast.NodeTransformer):
    """``inf`` and ``nan``, which `repr` writes, as the numbers they stand for."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(float(node.id)) if node.id in ("inf", "nan") else node


def _one_line(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__}(...)" if "\n" in text or " object at 0x" in text else text


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and bool(value == default))

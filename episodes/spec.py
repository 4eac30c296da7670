"""Spec strings: a name with arguments in brackets, ``"ridge(alpha=0.1)"``, whose values are Python literals."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Sequence
from typing import Any

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
    arguments = parse_arguments(rest)
    if arguments is None:
        raise ValueError(_UNREADABLE.format(spec if len(spec) <= 200 else f"{spec[:200]}..."))
    return name, *arguments


def parse_arguments(rest: str) -> tuple[list[Any], dict[str, Any]] | None:
    """What follows an opening bracket, ``"3, lr=1e-4)"``, as positional and named values; None if it is unreadable."""
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            return None
        if len({word.arg for word in call.keywords}) < len(call.keywords):
            return None
        positional = [_literal(value) for value in call.args]
        return positional, {str(word.arg): _literal(word.value) for word in call.keywords if _named(word)}
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        return None


_UNREADABLE = (
    "cannot read the spec {!r}; write a name with keyword arguments whose values are "
    'Python literals, like "ridge(alpha=0.1)" or "nearest(k=3, distance=\'cosine\')".'
)


def check_names(
    owner: str, given: Iterable[str], allowed: Sequence[str], noun: str = "argument", takes: str = "It takes"
) -> None:
    """Refuse a named argument that is not allowed, and suggest the nearest.

    Raises:
        ValueError: there is one.

    >>> check_names("'ridge'", ["alfa"], ["alpha"])
    Traceback (most recent call last):
    ValueError: 'ridge' has no argument 'alfa'; did you mean 'alpha'? It takes: alpha.
    """
    for name in given:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            listed = ", ".join(allowed) if allowed else "none" if noun == "option" else "no arguments"
            raise ValueError(f"{owner} has no {noun} {name!r}; {hint}{takes}: {listed}.")


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

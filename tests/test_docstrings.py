"""Docstrings of public names say what the arguments are, and name no others."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from test_public_names import PUBLIC, names_of


def arguments(value: Any) -> list[str]:
    """Names that a call of it takes; none where Python does not know them."""
    try:
        parameters = inspect.signature(value).parameters
    except (TypeError, ValueError):
        return []
    bound = "." in getattr(value, "__qualname__", "")
    return [name for name in parameters if not (bound and name in ("self", "cls"))]


def documented(docstring: str) -> list[str] | None:
    """Names in the section Args, of which a line may explain several; None where there is no such section."""
    section = re.search(r"^Args:\n(.*?)(?:\n\n|\Z)", inspect.cleandoc(docstring), re.M | re.S)
    if not section:
        return None
    lines = re.findall(r"^ {4}((?:\*{0,2}\w+(?:, )?)+)(?: \(.*?\))?: ", section[1] + " ", re.M)
    return [name.strip("*") for line in lines for name in line.split(", ")]


def own_docstring(value: Any) -> str:
    return str((vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__) or "")


def callables(module: str) -> Iterator[tuple[str, Any]]:
    """Public functions and classes of this library in a module, and the methods that the classes define."""
    for name in sorted(names_of(module)):
        value = getattr(import_module(module), name)
        ours = (getattr(value, "__module__", "") or "").partition(".")[0] in ("episodes", "fewshot")
        if not ours or not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        yield name, value
        for method, found in vars(value).items() if inspect.isclass(value) else ():
            plain = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found
            if inspect.isfunction(plain) and not method.startswith("_"):
                yield f"{name}.{method}", plain


def lacking(value: Any) -> list[str]:
    """What is wrong with its section Args, or, where it has none, which arguments of a function it does not mention."""
    taken, text = arguments(value), own_docstring(value)
    listed = documented(text)
    if listed is not None:
        missing = [f"{name} is missing" for name in taken if name not in listed]
        return missing + [f"{name} is no argument" for name in listed if name not in taken]
    record = inspect.isclass(value) and (
        dataclasses.is_dataclass(value) or hasattr(value, "_fields") or taken == ["args", "kwargs"]
    )
    method = "." in getattr(value, "__qualname__", "")
    if record or method or len(taken) < 2:
        return []
    return [f"{name} is not mentioned" for name in taken if not re.search(rf"\b{name}\b", text)]


@pytest.mark.parametrize("module", PUBLIC)
def test_arguments_are_those_of_the_signature(module: str) -> None:
    wrong = {name: found for name, value in callables(module) if (found := lacking(value))}
    assert not wrong


def test_a_wrong_section_is_found() -> None:
    def size(rows: int, columns: int) -> None:
        """Do something.

        Args:
            rows: of it.
            column: of it.
        """

    def bare(rows: int, columns: int) -> None:
        """Do something with `rows`."""

    bare.__qualname__ = "bare"  # no method
    assert lacking(size) == ["columns is missing", "column is no argument"]
    assert lacking(bare) == ["columns is not mentioned"]
    assert documented("X.\n\nArgs:\n    a, b: both.\n    **more: others.\n") == ["a", "b", "more"]

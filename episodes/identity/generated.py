"""What `dataclass` and attrs write into a class: methods that say no more than its fields do."""

from __future__ import annotations

import dataclasses
from types import FunctionType
from typing import Any

# Methods that `dataclass` writes, and the argument that has it write them.
_WRITTEN = {
    "__init__": "init", "__repr__": "repr", "__eq__": "eq", "__lt__": "order", "__le__": "order", "__gt__": "order",
    "__ge__": "order", "__setattr__": "frozen", "__delattr__": "frozen", "__replace__": "init",
}  # fmt: skip


def is_generated(kind: type, name: str, function: FunctionType) -> bool:
    """Whether a method was compiled from text that a decorator made of the fields.

    Code without a file is not enough to tell: it has none, either, if somebody types it at a prompt.
    """
    file = function.__code__.co_filename
    if file.startswith("<attrs generated"):
        return True
    how = vars(kind).get("__dataclass_params__")
    return file == "<string>" and how is not None and name in _WRITTEN and bool(getattr(how, _WRITTEN[name]))


def fields_of(fields: dict[str, Any]) -> list[Any]:
    """The fields of a data class in their order, and what makes the default of each where that is not a member."""
    return [
        [name, field.init, None if field.default_factory is dataclasses.MISSING else field.default_factory]
        for name, field in fields.items()
    ]

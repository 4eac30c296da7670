"""What stored results and checkpoints know transforms by stays what it was, wherever their code lies."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from types import CodeType

import pytest

import fewshot.transforms
from episodes.identity.code import is_library

# The names by which each class refers to what is outside of it are part of its identity, as is its own: under others,
# whoever goes on with a stored run of a version before would be told that it is another.
RECORDED = {
    "Transform": {"hyperparameters": ["argument_names"], "__repr__": ["spec_string"]},
    "L2": {"forward": ["normalize"]},
    "Power": {},
    "Rescale": {"adapt": ["spread_of_support"]},
    "_Fitted": {"__init__": ["torch"], "fit": ["_parts", "torch"], "adapt": ["product", "torch"]},
    "Centre": {},
    "CL2N": {"forward": ["normalize"]},
    "Standardise": {"__init__": ["torch"], "fit": ["_parts", "_spread", "torch"], "adapt": ["_spread", "product", "torch"]},
    "Whiten": {"__init__": ["torch"], "fit": ["_parts", "torch"]},
    "Pipeline": {
        "__init__": ["Transform", "nn"], "fit": ["Support", "Tensor", "TensorSource", "torch"], "adapt": ["_through"],
        "adapt_without": ["Transform", "_through"], "outlier_score": ["_through"], "_transforms": ["Transform"],
    },
}  # fmt: skip


def classes() -> dict[str, type]:
    """Every class of the package, and those that they are made of."""
    public = [kind for kind in vars(fewshot.transforms).values() if inspect.isclass(kind)]
    found = {base for kind in public for base in kind.__mro__ if base.__module__.startswith("fewshot.transforms")}
    return {kind.__qualname__: kind for kind in found}


def names_in(code: CodeType) -> Iterator[str]:
    """Names that code reads, also in generators and the like within it."""
    yield from (name for name in code.co_names if not name.startswith("__"))
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from names_in(inner)


@pytest.mark.parametrize("name", RECORDED)
def test_code_refers_to_the_same_names(name: str) -> None:
    read: dict[str, list[str]] = {}
    for member, function in vars(classes()[name]).items():
        if inspect.isfunction(function):
            plain = inspect.unwrap(function)
            known = sorted({one for one in names_in(plain.__code__) if one in plain.__globals__})
            read |= {member: known} if known else {}
    assert read == RECORDED[name]


def test_every_class_is_recorded_and_known_by_its_code() -> None:
    assert set(classes()) == set(RECORDED)
    modules = [f"fewshot.transforms.{module.name}" for module in pkgutil.iter_modules(fewshot.transforms.__path__)]
    assert len(modules) >= 4 and not any(map(is_library, modules))

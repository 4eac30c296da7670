"""Every learner, transform and adapter says what its arguments are, and shows an example, which the doctests run."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import fewshot
from fewshot.learners import ENTRIES as OWN_LEARNERS
from fewshot.learners import LEARNERS
from fewshot.transforms import ENTRIES as OWN_TRANSFORMS
from fewshot.transforms import TRANSFORMS

CLASSES = {
    **{name: LEARNERS.get(name) for name in OWN_LEARNERS},
    **{name: TRANSFORMS.get(name) for name in OWN_TRANSFORMS},
}
PACKAGE = Path(fewshot.__file__).parent


def documented(docstring: str) -> list[str]:
    """Names in the section Args of a docstring."""
    section = re.search(r"^Args:\n(.*?)(?:\n\n|\Z)", inspect.cleandoc(docstring), re.M | re.S)
    return re.findall(r"^ {4}(\w+)(?: \(.*?\))?: ", section[1] + " ", re.M) if section else []


def lacking(cls: type[Any]) -> list[str]:
    """What the class's own docstring does not say."""
    text = vars(cls)["__doc__"] or ""
    arguments = [
        name for name, one in inspect.signature(cls).parameters.items()
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]  # fmt: skip
    wrong = [f"argument {name}" for name in arguments if name not in documented(text)]
    wrong += [f"{name}, which is no argument," for name in documented(text) if name not in arguments]
    example = re.search(r"^Example:\n(.*)", inspect.cleandoc(text), re.M | re.S)
    if not example or not re.search(r"^ {4}>>> .*\n {4}[^>. ]", example[1], re.M):
        wrong.append("an example with what it prints")
    return wrong + (["examples that run"] if "doctest: +SKIP" in text else [])


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_arguments_and_an_example_are_in_the_docstring(name: str) -> None:
    assert lacking(CLASSES[name]) == []


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_doctests_of_this_checkout_find_the_example(name: str) -> None:
    """Doctests are collected from files of the package, under the class's own module."""
    assert PACKAGE in Path(inspect.getfile(CLASSES[name])).parents


def test_a_docstring_without_them_is_found() -> None:
    class Bare:
        """Does something.

        Args:
            size: of it.
        """

        def __init__(self, alpha: float = 1.0) -> None: ...

    assert lacking(Bare) == ["argument alpha", "size, which is no argument,", "an example with what it prints"]

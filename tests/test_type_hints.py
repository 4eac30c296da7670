"""Names that are imported when they are first used are known to type checkers, one by one, and no others."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import episodes
import fewshot
from fewshot import encoders, learners, maths

ROOT = Path(__file__).resolve().parents[1]


def classes(entries: dict[str, str]) -> set[str]:
    return {name for entry in entries.values() if (name := entry.partition(":")[2])[0].isupper()}


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (episodes, set(episodes.__all__)),
        (fewshot, set(fewshot.__all__) | set(fewshot._PACKAGES)),
        (encoders, classes(encoders.ENTRIES)),
        (learners, classes(learners.ENTRIES)),
        (maths, set(maths.__all__)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_type_checkers_know_the_names(module: object, names: set[str]) -> None:
    """An import for each under ``if TYPE_CHECKING``, and ``__getattr__``, which would know any name, hidden from them."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))  # type: ignore[attr-defined]
    imported, hidden = set(), False
    for node in tree.body:
        assert not (isinstance(node, ast.FunctionDef) and node.name == "__getattr__")
        if not isinstance(node, ast.If):
            continue
        if ast.unparse(node.test) == "TYPE_CHECKING":
            imported |= {alias.asname for line in node.body for alias in line.names if alias.asname}  # type: ignore[attr-defined]
        elif ast.unparse(node.test) == "not TYPE_CHECKING":
            hidden = any(isinstance(line, ast.FunctionDef) and line.name == "__getattr__" for line in node.body)
    assert hidden
    assert names <= imported, f"add: from ... import {sorted(names - imported)[0]}"
    assert all(hasattr(module, name) for name in imported)

"""What users import is public: each name is listed, documented, and all that documents and notebooks use."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_origin

import pytest

import episodes
import fewshot

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = re.findall(r"^\| `((?:episodes|fewshot)[\w.]*)` \|", (ROOT / "docs" / "api.md").read_text(), re.M)
SOURCES = [path for package in ("episodes", "fewshot") for path in sorted((ROOT / package).rglob("*.py"))]
GROUPS = {group for path in SOURCES
          for group in re.findall(r'Registry\("[\w -]+", ENTRIES, "([\w.]+)"', path.read_text(encoding="utf-8"))}  # fmt: skip
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *NOTEBOOKS]


def names_of(module: str) -> set[str]:
    """The public names of a module: its ``__all__``, else all that it lists without an underscore."""
    found: Any = import_module(module)
    return set(getattr(found, "__all__", None) or (name for name in dir(found) if not name.startswith("_")))


def code_of(path: Path) -> Iterator[str]:
    """Blocks of Python in a document, or cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        yield from ("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
    else:
        yield from re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def deep_imports(code: str) -> list[str]:
    """What a piece of code imports of this library that is not public."""
    wrong = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("episodes", "fewshot"):
            known = names_of(str(node.module)) if node.module in PUBLIC else set()
            packages = {module.rpartition(".")[2] for module in PUBLIC if module.rpartition(".")[0] == node.module}
            wrong += [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in known | packages]
        elif isinstance(node, ast.Import):
            ours = [alias.name for alias in node.names if alias.name.partition(".")[0] in ("episodes", "fewshot")]
            wrong += [name for name in ours if name not in PUBLIC]
    return wrong


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_import_public_names_only(path: Path) -> None:
    pieces = list(code_of(path))
    assert pieces or path.parent.name == "docs"
    assert not [name for code in pieces for name in deep_imports(code)]


def test_a_deep_import_is_found() -> None:
    code = "from fewshot.maths.linalg import class_means\nimport episodes.cell\nfrom fewshot import zsl, nothing\n"
    assert deep_imports(code) == ["fewshot.maths.linalg.class_means", "episodes.cell", "fewshot.nothing"]


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.suffix == ".md"], ids=lambda path: path.name)
def test_names_in_the_text_of_documents_exist(path: Path) -> None:
    """``fewshot.fine_tune`` in backticks is a public module, or a name of one."""
    for name in re.findall(r"`((?:episodes|fewshot)\.[a-zA-Z_.]+)\b[`(]", path.read_text(encoding="utf-8")):
        module, _, last = name.rpartition(".")
        assert name in GROUPS or name in PUBLIC or (module in PUBLIC and last in names_of(module)), name


def test_every_entry_point_group_is_named() -> None:
    assert {"fewshot.learners", "episodes.datasets"} < GROUPS
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").split("entry-point group:")[1]
    assert set(re.findall(r"`([\w.]+)`", text.split("`fewshot list`")[0])) == GROUPS


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_there_and_documented(module: str) -> None:
    found: Any = import_module(module)
    assert (found.__doc__ or "").strip()
    for name in getattr(found, "__all__", ()):
        value = getattr(found, name)
        alias = get_origin(value) is not None  # which is a class for Python 3.10
        if not alias and (inspect.isclass(value) or inspect.isroutine(value)):
            assert (inspect.getdoc(value) or "").strip(), f"{module}.{name} has no docstring"


def test_what_users_were_missing_is_public() -> None:
    for name in ("Transform", "load_transform", "pretrain", "load_weights", "ModuleEncoder"):
        assert name in fewshot.__all__
    assert {"class_means", "product"} <= set(fewshot.maths.__all__)
    assert fewshot.zsl.conse.__module__ == "fewshot.zsl.conse"
    assert set(fewshot._PACKAGES) == {name.partition(".")[2] for name in PUBLIC if name.startswith("fewshot.")}
    assert set(fewshot._PACKAGES) <= set(dir(fewshot)) and "Sampler" in episodes.__all__

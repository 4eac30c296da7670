"""Which modules of a package import which, also inside functions, and on which floor each stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def imports_of(path: Path, modules: set[str], code: str | None = None) -> Iterator[str]:
    """Modules that a file imports anywhere, but for ``if TYPE_CHECKING``."""
    waiting: list[ast.AST] = [ast.parse(code if code is not None else path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in (f"{node.module}.{alias.name}" for alias in node.names):
                yield name if name in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def graph_of(package: str) -> dict[str, set[str]]:
    """The modules of a package, and those of it that each imports."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / package).rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    return {
        name: {part for part in imports_of(path, set(files)) if part in files} - {name} for name, path in files.items()
    }


def floors(graph: dict[str, set[str]]) -> tuple[list[list[str]], list[str]]:
    """Modules by floor, each importing lower ones only; and those that are part of, or above, a circle."""
    found: list[list[str]] = []
    below: set[str] = set()
    while ready := sorted(name for name in graph if name not in below and graph[name] <= below):
        found.append(ready)
        below.update(ready)
    return found, sorted(set(graph) - below)

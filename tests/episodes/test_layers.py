"""No module of `episodes` imports, at any depth, what imports it; also not inside a function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import episodes

HOME = Path(episodes.__file__).parent


def imports_of(path: Path, modules: set[str], code: str | None = None) -> Iterator[str]:
    """Modules of the package that a file imports anywhere, but for ``if TYPE_CHECKING``."""
    waiting: list[ast.AST] = [ast.parse(code if code is not None else path.read_text())]
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


def floors(graph: dict[str, set[str]]) -> tuple[list[list[str]], list[str]]:
    """Modules by floor, each importing lower ones only; and those that are part of, or above, a circle."""
    found: list[list[str]] = []
    below: set[str] = set()
    while ready := sorted(name for name in graph if name not in below and graph[name] <= below):
        found.append(ready)
        below.update(ready)
    return found, sorted(set(graph) - below)


def graph_of_episodes() -> dict[str, set[str]]:
    files = {".".join(path.relative_to(HOME.parent).with_suffix("").parts): path for path in HOME.rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        parts = {_unit(part) for part in imports_of(path, set(files)) if part in files}
        graph.setdefault(_unit(name), set()).update(parts - {_unit(name)})
    return graph


def _unit(name: str) -> str:
    return "episodes.identity" if name.startswith("episodes.identity.") else name  # seen as one from outside


def test_there_is_no_circle() -> None:
    graph = graph_of_episodes()
    found, circular = floors(graph)
    assert not circular, {name: sorted(graph[name] & set(circular)) for name in circular}
    floor = {name.removeprefix("episodes."): number for number, names in enumerate(found) for name in names}
    assert floor["metrics"] < floor["result"] < floor["comparison"] < floor["report.tables"] < floor["results"]


def test_a_circle_is_found() -> None:
    assert floors({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ([["d"]], ["a", "b", "c"])
    code = "def f():\n    from episodes.results import Results\nif TYPE_CHECKING:\n    import episodes.cell\n"
    assert list(imports_of(Path(), {"episodes.results"}, code)) == ["episodes.results"]

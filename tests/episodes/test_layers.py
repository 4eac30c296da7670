"""No module of `episodes` imports, at any depth, what imports it; also not inside a function."""

from __future__ import annotations

from pathlib import Path

from import_graph import floors, graph_of, imports_of


def test_there_is_no_circle() -> None:
    graph = graph_of("episodes")
    found, circular = floors(graph)
    assert not circular, {name: sorted(graph[name] & set(circular)) for name in circular}
    floor = {name.removeprefix("episodes."): number for number, names in enumerate(found) for name in names}
    assert floor["metrics"] < floor["result"] < floor["comparison"] < floor["report.tables"] < floor["results"]


def test_a_circle_is_found() -> None:
    assert floors({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ([["d"]], ["a", "b", "c"])
    code = "def f():\n    from episodes.results import Results\nif TYPE_CHECKING:\n    import episodes.cell\n"
    assert list(imports_of(Path(), {"episodes.results"}, code)) == ["episodes.results"]

"""Engines: where tasks run. A new one is its file and one line here.

An engine maps a function over tasks and yields the results in any order. It may run a task twice (after a
worker died), so tasks must bear that; writing to the embedding cache does, by content.
Only tasks and reports cross an engine: features go from the worker straight to the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

from fewshot.registry import Registry, build, parse_spec

ENTRIES = {
    "in-process": "fewshot.engines.in_process:InProcess",
    "processes": "fewshot.engines.processes:Processes",
    "ray": "fewshot.engines.ray:Ray",
}
ENGINES = Registry("engine", ENTRIES, "fewshot.engines")


@runtime_checkable
class Engine(Protocol):
    """Runs tasks somewhere.

    Attributes:
        workers: how many tasks run at a time.
    """

    workers: int

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """``function(task)`` for every task, in any order, each at least once."""
        ...


def load_engine(engine: Any) -> Engine:
    """Make an engine of a spec string, a number of processes or a `concurrent.futures.Executor`.

    Args:
        engine: ``"processes"``, ``"processes(workers=2)"``, ``"ray"``, ``"in-process"``; an integer: that
            many processes; anything with ``submit(function, task)`` (an `Executor`, submitit, dask's
            ``client.get_executor()``); or an `Engine`. None is in-process.

    Raises:
        ValueError: none of these; for an unknown name near ones are suggested.

    >>> load_engine("in-process").workers
    1
    """
    if engine is None:
        engine = "in-process"
    if isinstance(engine, int) and not isinstance(engine, bool):
        engine = f"processes(workers={engine})"
    if isinstance(engine, str):
        name, arguments = parse_spec(engine)
        return build(ENGINES.get(name), name, arguments)
    if hasattr(engine, "submit"):
        from fewshot.engines.executor import FromExecutor

        return FromExecutor(engine)
    if isinstance(engine, Engine):
        return engine
    raise ValueError(
        f"engine={engine!r}; give one of {', '.join(ENGINES.names())}, a number of processes, or an object "
        "with submit(function, task) such as a concurrent.futures.Executor."
    )

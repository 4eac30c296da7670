"""Tasks through any executor: processes and threads of the standard library, Slurm (submitit), dask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, as_completed
from typing import Any


class FromExecutor:
    """Submits every task to an executor that the caller starts and stops.

    Args:
        executor: has ``submit(function, task)``, which returns something with ``result()``. The function
            travels with each task, so encoders are best given by their spec strings.
    """

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.workers = int(getattr(executor, "_max_workers", None) or 4)

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """``function(task)`` for every task, as they finish where the executor supports it."""
        jobs = [self.executor.submit(function, task) for task in tasks]
        try:
            futures = all(isinstance(job, Future) for job in jobs)
            for job in as_completed(jobs) if futures else jobs:
                yield job.result()
        finally:
            for job in jobs:
                if hasattr(job, "cancel") and not (hasattr(job, "done") and job.done()):
                    job.cancel()

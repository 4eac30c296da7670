"""Tasks on a Ray cluster, or on a Ray of this machine alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from episodes.device import processors


class Ray:
    """A pool of Ray actors that each get the function once; tasks and reports are all that travels later.

    It uses the Ray that is running in this process, else the cluster named in ``RAY_ADDRESS``, else one of
    its own on this machine, which it ends again. All machines must see the folder of the embedding cache.

    Args:
        workers: number of actors; None: one per GPU of the cluster, or where there is none one per processor.
        cpus: processors, and so threads, of each actor.
        gpus: GPUs of each actor, also a fraction; None: one where the cluster has any.

    Raises:
        ImportError: Ray is not installed.
        ValueError: fewer than one worker.
    """

    def __init__(self, workers: int | None = None, cpus: float = 1, gpus: float | None = None) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers={workers}; it must be at least 1.")
        try:
            import ray
        except ImportError:
            raise ImportError('engine "ray" needs Ray: pip install "fewshot[ray]"') from None
        self.cpus, self.gpus, self._wanted = cpus, gpus, workers
        known = ray.cluster_resources() if ray.is_initialized() else {}
        self.workers = workers or _actors(known) or processors()

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """``function(task)`` for every task, as they finish."""
        import ray
        from ray.util import ActorPool

        tasks = list(tasks)
        with _cluster():
            resources = ray.cluster_resources()
            gpus = self.gpus if self.gpus is not None else min(1.0, resources.get("GPU", 0.0))
            actor: Any = ray.remote(num_cpus=self.cpus, num_gpus=gpus, max_restarts=2, max_task_retries=2)(_Worker)
            count = min(self._wanted or _actors(resources) or 1, len(tasks))
            sent = ray.put(function)
            actors = [actor.remote(sent, os.getcwd(), max(1, int(self.cpus))) for _ in range(count)]
            try:
                yield from ActorPool(actors).map_unordered(lambda one, task: one.run.remote(task), tasks)
            finally:
                for one in actors:
                    ray.kill(one)


class _Worker:
    """What an actor does."""

    def __init__(self, function: Callable[[Any], Any], folder: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        if os.path.isdir(folder):  # relative paths of data and weights mean what they mean to the caller
            os.chdir(folder)
        self.function = function

    def run(self, task: Any) -> Any:
        return self.function(task)


@contextmanager
def _cluster() -> Iterator[None]:
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its future default; it warns if unset
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _actors(resources: dict[str, float]) -> int:
    return int(resources.get("GPU", 0) or resources.get("CPU", 0))

"""Tasks in processes of this machine, one per GPU."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from episodes.device import processors
from fewshot.engines.parent_exit import exit_with_parent, interruptions_wait

_PATIENCE_SECONDS = 1.3  # with workers that were asked to end
_STARTS = 3  # of the pool: it is started again when a worker was killed
_log = logging.getLogger("fewshot")
_function: Callable[[Any], Any] | None = None  # in a worker: what it was started for


class Processes:
    """Spawned workers that each get the function once, a GPU of their own, and their share of processors.

    Workers end with the process that started them, also when it is killed; interrupted, it ends them within two
    seconds.

    A script that uses it must start its work under ``if __name__ == "__main__":``: workers import it.

    Args:
        workers: number of processes; None: one per GPU, or where there is none one per two processors.

    Raises:
        ValueError: fewer than one worker.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers={workers}; it must be at least 1.")
        self.workers = workers or torch.cuda.device_count() or max(1, processors() // 2)

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """``function(task)`` for every task, as they finish.

        Raises:
            RuntimeError: workers died again and again.
        """
        left = list(tasks)
        for start in range(_STARTS):
            if not left:
                return
            try:
                yield from self._run(function, left)
            except BrokenProcessPool as error:
                _log.warning("a worker process died (start %d of %d): %s", start + 1, _STARTS, error)
        if left:
            raise RuntimeError(
                f"worker processes died {_STARTS} times with {len(left)} tasks left: killed for memory? Try "
                "fewer workers or a smaller batch_size. A script must start its work under "
                'if __name__ == "__main__":. What is finished is kept.'
            )

    def _run(self, function: Callable[[Any], Any], left: list[Any]) -> Iterator[Any]:
        context = multiprocessing.get_context("spawn")
        count = min(self.workers, len(left))
        # Workers hold the one end, this process the other: when it is closed, by us or by our death, they end.
        parent, ours = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_start_worker,
            initargs=(function, context.Value("i", 0), max(1, processors() // count), parent),
        )  # fmt: skip
        done = False
        try:
            with interruptions_wait():
                futures = {pool.submit(_run_task, task): task for task in left}
            for future in as_completed(futures):
                result = future.result()
                left.remove(futures[future])
                yield result
            done = True
        finally:
            if not done:
                _end(pool, ours)
            pool.shutdown(wait=True, cancel_futures=True)
            ours.close()
            parent.close()


def _end(pool: ProcessPoolExecutor, ours: Any) -> None:
    """Let workers write what they have finished, and no more; one that is still starting is ended at once."""
    workers = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    ours.close()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    for worker in workers:
        if worker.is_alive():
            worker.kill()


def _start_worker(function: Callable[[Any], Any], number: Any, threads: int, parent: Any) -> None:
    global _function
    exit_with_parent(parent)
    _function = function
    torch.set_num_threads(threads)
    with number.get_lock():
        mine = number.value
        number.value += 1
    if torch.cuda.is_available():
        torch.cuda.set_device(mine % torch.cuda.device_count())


def _run_task(task: Any) -> Any:
    assert _function is not None
    return _function(task)

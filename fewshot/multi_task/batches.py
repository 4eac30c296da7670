"""Which rows of which task each batch holds: a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fewshot.multi_task.sampling import FloatArray


def task_counts(shares: FloatArray, sizes: Sequence[int], offsets: FloatArray) -> np.ndarray:
    """Rows of each task in batches of given sizes ``[batches, T]``, by systematic sampling.

    ``n_t = floor(B c_t + u) - floor(B c_{t-1} + u)`` with ``c_t = p_1 + ... + p_t`` and u uniform in 0..1: on average
    ``B p_t``, and never off by one or more.

    Args:
        shares: p ``[T]``, of sum 1.
        sizes: B of each batch.
        offsets: u of each batch, in 0..1.
    """
    ends = np.concatenate([[0.0], np.cumsum(shares)])
    ends[-1] = 1.0  # whatever rounding left of it
    reached = np.floor(np.asarray(sizes)[:, None] * ends + np.asarray(offsets)[:, None]).astype(np.int64)
    found: np.ndarray = np.diff(reached, axis=1)
    return found


def epoch_batches(shares: FloatArray, rows: Sequence[int], batches: int, seed: int, epoch: int) -> tuple[Tensor, ...]:
    """Row numbers of the batches of an epoch, counted through all tasks; in each batch in the order of the tasks.

    The rows of a task come in a random order, all of them before any comes again.

    Args:
        shares: of the tasks ``[T]``.
        rows: of each task ``M_t``; an epoch has as many as all tasks together.
        batches: how many, of nearly equal size.
        seed: of the random numbers.
        epoch: number of the epoch.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    sizes = [len(part) for part in np.array_split(np.arange(sum(rows)), batches)]
    counts = task_counts(shares, sizes, random.random(batches))  # [batches, T]
    streams = []
    for task, size in enumerate(rows):
        passes = -(-int(counts[:, task].sum()) // size)
        stream = [random.permutation(size) for _ in range(passes)] or [np.empty(0, dtype=np.int64)]
        streams.append(np.concatenate(stream) + sum(rows[:task]))
    ends = np.cumsum(counts, axis=0)
    return tuple(
        torch.from_numpy(
            np.concatenate([stream[end - count : end] for stream, end, count in zip(streams, last, now, strict=True)])
        )
        for last, now in zip(ends, counts, strict=True)
    )

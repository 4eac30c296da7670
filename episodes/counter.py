"""Counter-based randomness: the draw number i of a stream is a function of (seed, stream, i) alone."""

from __future__ import annotations

from enum import IntEnum, unique

import numpy as np
from numpy.typing import NDArray

_WORDS_PER_COUNTER = 4  # Philox4x64 makes four 64-bit words of each counter value


@unique
class Stream(IntEnum):
    """What random numbers are drawn for: the second half of the key, one number for each purpose.

    A purpose in `SPANS` has that many streams, which begin at its own number. All others have one.
    """

    CLASSES = 0
    QUERY = 1
    SHOT = 2  # of shot j is SHOT + j; further ones have LATER_SHOT, see `shot_stream`
    SCENE = 100
    SCENE_NUISANCE = 101
    SCENE_GRAIN = 102
    DISJOINT_CLASSES = 2**32
    DISJOINT_ROWS = 2**32 + 1
    DIRICHLET_SHARES = 2**33
    DIRICHLET_ROWS = 2**33 + 1
    GROUP = 2**34
    DISTRACTOR_ROWS = 2**34 + 1
    DISTRACTOR_CLASSES = 2**34 + 2
    OPEN_ROWS = 2**35
    OPEN_CLASSES = 2**35 + 1
    WAY = 2**36
    VARIABLE_CLASSES = 2**36 + 1
    SUPPORT_SIZE = 2**36 + 2
    SHARES = 2**36 + 3
    VARIABLE_ROWS = 2**36 + 4
    ADAPTER = 2**37  # of the layers of CLIP-Adapter
    CALIBRATION = 2**38  # of the neighbours in distribution calibration
    LATER_SHOT = 2**40


SPANS = {Stream.SHOT: 98, Stream.ADAPTER: 2, Stream.CALIBRATION: 2**32, Stream.LATER_SHOT: 2**40}


def shot_stream(shot: int) -> int:
    """The stream of the support rows number `shot` of all classes."""
    near = SPANS[Stream.SHOT]
    return Stream.SHOT + shot if shot < near else Stream.LATER_SHOT + shot - near


def uniforms(seed: int, stream: int, first: int, count: int, width: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), ``[count, width]``: row i belongs to draw number ``first + i``.

    Philox4x64-10 keyed by (seed, stream), its counter set to the draw number, so any row can be made
    alone, in any batch, in any process; `Stream` lists the streams. NumPy guarantees what its bit generators give
    across versions.

    Reference: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    counters = -(-width // _WORDS_PER_COUNTER)
    bits = np.random.Philox(key=np.array([seed, stream], np.uint64))
    bits.advance(first * counters)
    words = bits.random_raw(count * counters * _WORDS_PER_COUNTER)
    words >>= np.uint64(11)
    numbers = words.astype(np.float64)
    numbers *= 2.0**-53
    return numbers.reshape(count, counters * _WORDS_PER_COUNTER)[:, :width]


def distinct(numbers: NDArray[np.float64], sizes: NDArray[np.int32] | int) -> NDArray[np.int32]:
    """For each column, k distinct integers below its size, in random order ``[k, B]``.

    A partial Fisher-Yates shuffle without the array to shuffle: draw j picks position ``r_j`` of
    ``j..size-1``, and what lies there is found by undoing the earlier swaps, latest first:
    ``p = r_j;  for t = j-1, ..., 0:  if p == r_t: p = t``. That is k(k-1)/2 comparisons of vectors over the
    columns, whatever the size. The first k' rows do not depend on k, so larger draws extend smaller ones.

    Args:
        numbers: uniform in [0, 1), ``[k, B]``.
        sizes: how many integers each column may use, ``[B]`` or one for all; at least k.
    """
    k = len(numbers)
    picks = np.empty(numbers.shape, np.int32)  # [k, B]
    for j in range(k):
        picks[j] = numbers[j] * (sizes - j)
        picks[j] += j
    values = picks.copy()
    for t in range(k - 2, -1, -1):
        later = values[t + 1 :]
        np.copyto(later, np.int32(t), where=later == picks[t])
    return values


def others(chosen: NDArray[np.int32], numbers: NDArray[np.float64], total: int) -> NDArray[np.int32]:
    """For each row, k distinct integers below the total that it has not chosen: ``[E, N], [k, E] -> [E, k]``."""
    left = distinct(numbers, total - chosen.shape[1]).T  # ranks among those left
    for ordered in np.sort(chosen, axis=1).T:  # skip the chosen ones, smallest first
        left = left + (left >= ordered[:, None])
    return left

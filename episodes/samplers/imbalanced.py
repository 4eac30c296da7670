"""`DirichletSampler`: queries of unequal classes, as an unlabelled stream would bring them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.counter import Stream, distinct, uniforms
from episodes.draw import Draw
from episodes.samplers.fixed import EpisodeSampler

_TRIES = 12  # candidates for a gamma variate; all are refused less than once in 10^15


class DirichletSampler(EpisodeSampler):
    """`EpisodeSampler`, but the shares of the classes among the queries are drawn from a Dirichlet distribution.

    Each episode has ``way * query`` queries in all. Of class n there are ``p_n`` of them, rounded so that the
    total holds, with ``p ~ Dirichlet(alpha, ..., alpha)``; a class may have none. Learners that assume balanced
    queries fall behind here. Classes and support are those of `EpisodeSampler` with the same arguments, and
    the queries of a class extend or shorten its queries, so results are paired with balanced ones.

    A class that has too few rows gives all that it has, and the others give more.

    Args:
        labels: class of each row of the dataset ``[M]``, integers from 0.
        way: classes per episode N.
        shot: support rows per class K.
        query: query rows per class on average.
        seed: 0 to 2**64 - 1.
        alpha: concentration; 2 as published, larger is more even.
        **more: `classes`, `episodes` and `name`, as for `EpisodeSampler`.

    Raises:
        ValueError: too few classes have ``shot + query`` rows, or an argument is out of range.

    Reference: Veilleux, Boudiaf, Piantanida, Ben Ayed, "Realistic evaluation of transductive few-shot
    learning", NeurIPS 2021, arXiv:2204.11181.

    >>> sampler = DirichletSampler([0] * 99 + [1] * 99 + [2] * 99, way=3, shot=1, query=10)
    >>> [int((sampler.draw(0, 1).targets == n).sum()) for n in range(3)]
    [11, 14, 5]
    """

    kind = "dirichlet"
    alike = False

    def __init__(
        self,
        labels: Any,
        way: int = 5,
        shot: int = 1,
        query: int = 15,
        seed: int = 0,
        *,
        alpha: float = 2.0,
        **more: Any,
    ) -> None:
        if isinstance(alpha, (bool, str)) or not 0 < alpha < float("inf"):
            raise ValueError(f"alpha={alpha!r}; it must be positive (larger is more even).")
        super().__init__(labels, way, shot, query, seed, **more)
        self.alpha = float(alpha)

    def _block(self, first: int, count: int) -> Draw:
        way, shot, query = self.way, self.shot, self.query
        chosen = self._choose(first, count)  # [E, N]
        sizes = self._pool.sizes[chosen]
        counts = self._counts(first, count, sizes - shot)  # [E, N]
        more = max(0, int(counts.max(initial=0)) - query)
        # Rows in the order of EpisodeSampler: its queries, its support; then the queries beyond those.
        numbers = self._numbers(first, count, shot, more)
        further = uniforms(self.seed, Stream.DIRICHLET_ROWS, first, count, way * query * way)
        further = further.reshape(count, way, way * query)
        numbers[query + shot :] = further[..., :more].transpose(2, 0, 1)
        # A class shorter than the longest of the block has places beyond its rows, which are never used.
        items = distinct(numbers.reshape(len(numbers), -1), self._pool.limits(chosen)).reshape(numbers.shape)
        rows = self._pool.rows(np.clip(items, 0, sizes - 1), chosen)  # [query + shot + more, E, N]
        support = rows[query : query + shot].transpose(1, 2, 0)
        candidates = np.concatenate([rows[:query], rows[query + shot :]]).transpose(1, 2, 0)  # [E, N, query + more]
        taken = np.arange(query + more) < counts[..., None]
        targets = np.broadcast_to(np.arange(way)[:, None], taken.shape)
        shape = (count, way * query)
        drawn = self._drawn(first, support, rows[:0].transpose(1, 2, 0), self.classes[chosen])
        query, labels = candidates[taken].reshape(shape), targets[taken].reshape(shape)
        return replace(drawn, query=torch.from_numpy(query), targets=torch.from_numpy(labels))

    def _counts(self, first: int, count: int, rows_left: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Queries of each class ``[E, N]``; every row sums to ``way * query``."""
        total = self.way * self.query
        numbers = uniforms(self.seed, Stream.DIRICHLET_SHARES, first, count, self.way * 3 * _TRIES)
        shares = gammas(self.alpha, numbers, self.way)
        shares = shares / shares.sum(1, keepdims=True)
        counts = round_to(shares, np.full(count, total))
        for _ in range(self.way):  # what a class has no rows for goes to the others, by their shares
            excess = np.maximum(counts - rows_left, 0).sum(1)
            if not excess.any():
                break
            counts = np.minimum(counts, rows_left)
            open_to = np.where(counts < rows_left, shares + 1e-12, 0)
            counts = counts + round_to(open_to / open_to.sum(1, keepdims=True).clip(1e-300), excess)
        return counts

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the rows themselves, as JSON values."""
        return {**super().recipe(), "alpha": self.alpha}


def gammas(alpha: float, numbers: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Gamma(alpha) variates ``[E, width]`` from uniform numbers, each from the same numbers every time.

    Reference: Marsaglia, Tsang, "A simple method for generating gamma variables", ACM TOMS 2000.
    """
    numbers = numbers.reshape(len(numbers), width, numbers.shape[1] // (3 * width), 3)  # [E, width, tries, 3]
    tiny = 2.0**-54
    shape = alpha if alpha >= 1 else alpha + 1
    d = shape - 1 / 3
    normal = np.sqrt(-2 * np.log(numbers[..., 0] + tiny)) * np.cos(2 * np.pi * numbers[..., 1])
    cube = np.maximum(1 + normal / np.sqrt(9 * d), 0) ** 3
    with np.errstate(divide="ignore"):
        fits = np.log(numbers[..., 2] + tiny) < normal**2 / 2 + d - d * cube + d * np.log(cube)
    fits &= cube > 0
    first = fits.argmax(-1)[..., None]
    values = d * np.take_along_axis(cube, first, -1)[..., 0]
    if alpha < 1:
        values *= (numbers[..., -1, 2] + tiny) ** (1 / alpha)
    return np.maximum(values, 1e-300)


def round_to(shares: NDArray[np.float64], totals: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Whole numbers near ``shares * total`` that sum to the total of their row (largest remainders) ``[E, N]``."""
    exact = shares * totals[:, None]
    counts = np.floor(exact + 1e-9).astype(np.int64)
    missing = totals - counts.sum(1)
    order = np.argsort(counts - exact, axis=1, kind="stable")  # largest remainder first
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(shares.shape[1]), order.shape), 1)
    return counts + (rank < missing[:, None])

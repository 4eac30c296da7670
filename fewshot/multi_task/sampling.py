"""How often a row of each task is trained on. A new way is a class here and its name in `SAMPLINGS`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fewshot.registry import build_known, spec_string

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


class Sampling:
    """Shares of the tasks in the rows that are trained on, from their sizes ``M_t``.

    Class attributes:
        name: in spec strings.
    """

    name: ClassVar[str] = ""

    def exponent(self, epoch: int, epochs: int) -> float:
        """The a of ``p_t = m_t^a / sum m_s^a`` in an epoch, 0..epochs-1."""
        raise NotImplementedError

    def counted(self, sizes: FloatArray) -> FloatArray:
        """The ``m_t``: sizes of tasks, as far as they count."""
        return sizes

    def shares(self, sizes: Sequence[int], epoch: int, epochs: int) -> FloatArray:
        """Shares ``p_t = m_t^a / sum m_s^a`` of the T tasks ``[T]``, of sum 1.

        Args:
            sizes: rows of each task.
            epoch: number of the epoch, from 0.
            epochs: how many there will be.
        """
        counted = self.counted(np.asarray(sizes, dtype=np.float64))
        powers = (counted / counted.max()) ** self.exponent(epoch, epochs)
        found: FloatArray = powers / powers.sum()
        return found

    def __repr__(self) -> str:
        return spec_string(self.name, self)


class Uniform(Sampling):
    """All tasks alike: a = 0."""

    name = "uniform"

    def exponent(self, epoch: int, epochs: int) -> float:
        """0."""
        return 0.0


class Proportional(Sampling):
    """All rows alike: a = 1."""

    name = "proportional"

    def exponent(self, epoch: int, epochs: int) -> float:
        """1."""
        return 1.0


class Temperature(Sampling):
    """a = 1 / T: from `Proportional` (T = 1) to `Uniform` (large T); below 1, large tasks count more than by size.

    Args:
        T: temperature.
        limit: most rows that count of a task; None: all.

    Reference: Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text transformer",
    JMLR 21 (2020), arXiv:1910.10683, section 3.5.2.
    """

    name = "temperature"

    def __init__(self, T: float = 2.0, limit: int | None = None) -> None:
        if not 0 < T < float("inf"):
            raise ValueError(f"temperature(T={T!r}); it must be positive; 'uniform' is its limit.")
        if limit is not None and limit < 1:
            raise ValueError(f"temperature(limit={limit!r}); it must be at least 1, or None.")
        self.T, self.limit = float(T), limit

    def exponent(self, epoch: int, epochs: int) -> float:
        """1 / T."""
        return 1 / self.T

    def counted(self, sizes: FloatArray) -> FloatArray:
        """Sizes up to the limit."""
        return sizes if self.limit is None else np.minimum(sizes, self.limit)


class Annealed(Sampling):
    """``a = 1 - drop (e - 1) / (E - 1)`` in epoch e = 1..E: by size at first, nearly alike in the end.

    Args:
        drop: by how much a falls over the training.

    Reference: Cooper Stickland, Murray, "BERT and PALs: projected attention layers for efficient adaptation in
    multi-task learning", ICML 2019, arXiv:1902.02671.
    """

    name = "annealed"

    def __init__(self, drop: float = 0.8) -> None:
        if not 0 <= drop <= 1:
            raise ValueError(f"annealed(drop={drop!r}); it must be in 0..1.")
        self.drop = float(drop)

    def exponent(self, epoch: int, epochs: int) -> float:
        """1 in the first epoch, ``1 - drop`` in the last."""
        return 1 - self.drop * epoch / max(1, epochs - 1)


SAMPLINGS: dict[str, type[Sampling]] = {kind.name: kind for kind in (Uniform, Proportional, Temperature, Annealed)}


def load_sampling(spec: str | Sampling) -> Sampling:
    """A sampling by its spec, ``"temperature(2)"``.

    Raises:
        ValueError: an unknown name or argument (the message suggests near ones), or one out of range.

    >>> load_sampling("temperature(2)").shares([100, 400], 0, 1).round(3).tolist()
    [0.333, 0.667]
    """
    found: Sampling = spec if isinstance(spec, Sampling) else build_known(SAMPLINGS, "sampling", spec)
    return found

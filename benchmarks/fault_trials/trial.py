"""What a trial is: its kind, its outcome, and how a file is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from episodes import TensorSource

Trial = Callable[[np.random.Generator, Path], str]
FINE, WRONG, LOST, RAW = "", "wrong", "lost", "raw"
KINDS: dict[str, tuple[Trial, int]] = {}


def kind(name: str, trials: int) -> Callable[[Trial], Trial]:
    def register(trial: Trial) -> Trial:
        KINDS[name] = (trial, trials)
        return trial

    return register


def damage(random: np.random.Generator, path: Path) -> None:
    """One flipped bit, or the end cut off."""
    data = bytearray(path.read_bytes())
    place = int(random.integers(len(data)))
    if random.random() < 0.75:
        data[place] ^= 1 << int(random.integers(8))
    else:
        del data[place:]
    path.write_bytes(data)


def one_of(random: np.random.Generator, paths: Any) -> Path:
    found = sorted(paths)
    return found[int(random.integers(len(found)))]


def source() -> TensorSource:
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 20)
    return TensorSource((random.normal(size=(120, 8)) + 0.6 * y[:, None]).astype(np.float32), y)

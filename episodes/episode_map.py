"""`EpisodeMap`: the rows of one episode in a plane, kept with predictions so that a report can draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.draw import PADDING, Draw
from episodes.source import Source, as_float

_MOST = 400  # rows of a map; of more, evenly spaced ones
_COLUMNS = {"rows": np.int64, "classes": np.int32, "queries": np.int32, "x": np.float32, "y": np.float32}
_PER_MAP = {"episodes": np.int64, "counts": np.int32, "share_x": np.float32, "share_y": np.float32}


@dataclass(frozen=True)
class EpisodeMap:
    """Support rows and scored queries of one episode in the plane of their first two principal components.

    Attributes:
        episode: its number.
        rows: row of each in the dataset ``[P]``, P at most 400.
        classes: its class in the dataset ``[P]``.
        queries: its place among the scored queries of the episode ``[P]``; -1: a support row.
        x: first principal component of the rows as the learner is given them ``[P]``.
        y: second one ``[P]``.
        shares: how much of the variance of the rows each of the two holds, 0..1.
    """

    episode: int
    rows: NDArray[np.int64]
    classes: NDArray[np.int32]
    queries: NDArray[np.int32]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    shares: tuple[float, float]


def hardest_and_typical(accuracies: NDArray[np.float64]) -> list[int]:
    """The first episode of the least accuracy, and the first one with the accuracy nearest to the median.

    >>> hardest_and_typical(np.array([0.9, 0.2, 0.7, 0.2, 0.8]))
    [1, 2]
    """
    hardest = int(np.argmin(accuracies))
    typical = int(np.argmin(np.abs(accuracies - np.median(accuracies))))
    return list(dict.fromkeys([hardest, typical]))


def map_episode(drawn: Draw, source: Source) -> EpisodeMap:
    """Support rows and scored queries of one episode, and where they lie in the plane.

    The plane is fitted to these rows: ``X - mean = U S V^T``, and the places are the first two columns of ``U S``. The
    sign of each is that its largest entry is positive.

    Args:
        drawn: one episode.
        source: its rows.
    """
    support, labelled = drawn.support[0], drawn.labels[0] != PADDING
    scored = drawn.targets[0] >= 0
    rows = torch.cat([support[labelled], drawn.query[0][scored]])
    ways = torch.cat([drawn.labels[0][labelled], drawn.targets[0][scored]])
    queries = torch.cat([torch.full((int(labelled.sum()),), -1), torch.arange(int(scored.sum()))])
    if len(rows) > _MOST:
        chosen = torch.linspace(0, len(rows) - 1, _MOST).round().long()
        rows, ways, queries = rows[chosen], ways[chosen], queries[chosen]
    x, y, shares = _plane(as_float(source[rows]).cpu().flatten(1))
    return EpisodeMap(
        int(drawn.ids[0]), rows.numpy().astype(np.int64), drawn.classes[0][ways].numpy().astype(np.int32),
        queries.numpy().astype(np.int32), x, y, shares,
    )  # fmt: skip


def _plane(features: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[float, float]]:
    """The first two principal components of rows ``[P, D]``, and their shares of the variance."""
    centred = features.double() - features.double().mean(0)  # [P, D]
    values, vectors = torch.linalg.eigh(centred @ centred.T)  # ascending; [P, P] is small where D is large
    values, vectors = values.clamp_min(0).flip(0), vectors.flip(1)
    found, total = [], float(values.sum())
    for number in range(2):
        if number >= len(values) or not values[number] > 1e-12 * total:
            found.append((np.zeros(len(features), np.float32), 0.0))
            continue
        place = vectors[:, number] * values[number].sqrt()  # [P]
        place = place * place[place.abs().argmax()].sign()
        found.append((place.numpy().astype(np.float32), float(values[number]) / total))
    (x, first), (y, second) = found
    return x, y, (first, second)


def as_arrays(maps: Sequence[EpisodeMap]) -> dict[str, NDArray[Any]]:
    """Maps as the arrays that a file holds; `from_arrays` reads them."""
    columns = {
        f"map_{name}": np.concatenate([getattr(one, name) for one in maps]).astype(dtype)
        for name, dtype in _COLUMNS.items()
    }
    whole = {
        "episodes": [one.episode for one in maps], "counts": [len(one.rows) for one in maps],
        "share_x": [one.shares[0] for one in maps], "share_y": [one.shares[1] for one in maps],
    }  # fmt: skip
    return {**columns, **{f"map_{name}": np.array(whole[name], dtype) for name, dtype in _PER_MAP.items()}}


def map_names() -> list[str]:
    """Names of the arrays of `as_arrays`."""
    return [f"map_{name}" for name in (*_COLUMNS, *_PER_MAP)]


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> list[EpisodeMap]:
    """The maps in such arrays.

    Raises:
        ValueError: they do not fit one another.
    """
    counts = arrays["map_counts"]
    for names, length in ((_COLUMNS, int(counts.sum())), (_PER_MAP, len(counts))):
        for name, dtype in names.items():
            if arrays[f"map_{name}"].dtype != dtype or arrays[f"map_{name}"].shape != (length,):
                raise ValueError(f"the maps of episodes do not fit one another: {name}")
    made, stops = [], np.cumsum(counts)
    for number, (stop, count) in enumerate(zip(stops.tolist(), counts.tolist(), strict=True)):
        own = {name: arrays[f"map_{name}"][stop - count : stop] for name in _COLUMNS}
        shares = float(arrays["map_share_x"][number]), float(arrays["map_share_y"][number])
        made.append(EpisodeMap(int(arrays["map_episodes"][number]), **own, shares=shares))
    return made

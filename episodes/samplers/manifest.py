"""Episodes in a file: the very indices, to be replayed anywhere."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from episodes.draw import OPEN, PADDING, Draw
from episodes.files import write_atomically
from episodes.identity import digest
from episodes.manifest_file import FIELDS as _FIELDS
from episodes.manifest_file import FORMAT as _FORMAT
from episodes.manifest_file import read_manifest
from episodes.samplers.pool import as_labels
from episodes.samplers.sampler import Sampler


def save_episodes(
    sampler: Any, path: str | os.PathLike[str], *, labels: Any, first: int = 0, episodes: int = 1000
) -> None:
    """Write the indices of some episodes to an ``.npz`` file, which `ManifestSampler` replays.

    Args:
        sampler: any sampler.
        path: of the file.
        labels: of the dataset ``[M]``: the file is bound to them.
        first: number of the first episode.
        episodes: how many.
    """
    drawn = sampler.draw(first, episodes)
    header = {"format": _FORMAT, "labels": _labels_digest(labels), "rows": len(labels), "recipe": sampler.recipe()}
    buffer = io.BytesIO()
    arrays = {name: getattr(drawn, name).numpy() for name in _FIELDS}
    if drawn.unlabelled is not None:
        arrays["unlabelled"] = drawn.unlabelled.numpy()
    np.savez_compressed(buffer, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)
    write_atomically(Path(path), buffer.getvalue())


class ManifestSampler(Sampler):
    """Replays the episodes of a file that `save_episodes` wrote, on any machine, in any version.

    Args:
        path: of the file.
        labels: of the dataset ``[M]``.
        name: what error messages call the dataset.

    Attributes:
        available: how many episodes there are.
        way: classes per episode N.
        source_recipe: of the sampler that drew the episodes.

    Raises:
        ValueError: the file is no manifest, is damaged, or was made for other labels.
    """

    kind = "manifest"
    own_task = True

    def __init__(self, path: str | os.PathLike[str], labels: Any, *, name: str = "the dataset") -> None:
        self._path, self.rows, self.name = str(path), len(labels), name
        header, arrays = read_manifest(self._path)
        self._drawn = Draw(**arrays)
        if header["labels"] != _labels_digest(labels):
            raise ValueError(
                f"{self._path!r} was made for a dataset of {header['rows']} rows with other labels than the "
                f"{len(labels)} of {name!r}; its indices would mean other rows."
            )
        drawn = self._drawn
        _check(drawn, self.rows, self._path)
        self.available = self.episodes = len(drawn)
        self.way, self.source_recipe = drawn.classes.shape[1], header["recipe"]
        self.alike = all(bool((rows == rows[:1]).all()) for rows in (drawn.labels, drawn.targets))
        self._digest = digest({field: getattr(drawn, field) for field in (*_FIELDS, "unlabelled")})

    @classmethod
    def of(cls, source: Any, way: int, shot: int, query: int, seed: int, **arguments: Any) -> ManifestSampler:
        """A sampler over a source; all but the argument `path` lies in the file."""
        return cls(labels=source.labels, name=source.name, **arguments)

    def _block(self, first: int, count: int) -> Draw:
        return self._drawn[first : first + count]

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the rows themselves, as JSON values."""
        recipe = {key: self.source_recipe[key] for key in ("way", "shot") if key in self.source_recipe}
        return {"sampler": self.kind, "episodes": self._digest, **recipe, "of": self.source_recipe}

    def _too_many(self, given: str) -> str:
        return f"{given}, but {self._path!r} holds {self.available} episodes."

    def __repr__(self) -> str:
        return f"ManifestSampler({self._path!r})"


def _check(drawn: Draw, rows: int, path: str) -> None:
    """Refuse indices that fit neither one another nor the dataset."""
    count = len(drawn.ids)
    for name, pair in (("support", (drawn.support, drawn.labels)), ("query", (drawn.query, drawn.targets))):
        indices, answers = pair
        if indices.ndim != 2 or indices.shape != answers.shape or len(indices) != count or drawn.classes.ndim != 2:
            raise ValueError(f"{path!r} is damaged: {name} is {list(indices.shape)}, for {count} episodes.")
        if answers.numel() and not OPEN <= int(answers.min()) <= int(answers.max()) < drawn.classes.shape[1]:
            raise ValueError(f"{path!r} is damaged: {name} has classes beyond the {drawn.classes.shape[1]} there are.")
    if count == 0 or len(drawn.classes) != count or int(drawn.labels.min() if drawn.labels.numel() else 0) < PADDING:
        raise ValueError(f"{path!r} is damaged: it has {count} episodes, and classes of {len(drawn.classes)}.")
    everything = drawn.rows
    if everything.numel() and not 0 <= int(everything.min()) <= int(everything.max()) < rows:
        raise ValueError(f"{path!r} is damaged: it has row {int(everything.max())} of a dataset of {rows} rows.")


def _labels_digest(labels: Any) -> str:
    """As files of this format have it, whatever identities are made of elsewhere."""
    array = as_labels(labels.numpy() if isinstance(labels, Tensor) else labels)
    return hashlib.sha256(np.ascontiguousarray(array, "<i8").tobytes()).hexdigest()[:32]

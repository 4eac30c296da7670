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

from episodes.files import write_atomically
from episodes.manifest_file import FIELDS as _FIELDS
from episodes.manifest_file import FORMAT as _FORMAT
from episodes.manifest_file import read_manifest
from episodes.sampler import Draw, _as_labels


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


class ManifestSampler:
    """Replays the episodes of a file that `save_episodes` wrote, on any machine, in any version.

    Args:
        path: of the file.
        labels: of the dataset ``[M]``.
        name: what error messages call the dataset.

    Attributes:
        available: how many episodes there are.
        way: classes per episode N.

    Raises:
        ValueError: the file is no manifest, or was made for other labels.
    """

    kind = "manifest"

    def __init__(self, path: str | os.PathLike[str], labels: Any, *, name: str = "the dataset") -> None:
        header, arrays = read_manifest(path)
        if header["labels"] != _labels_digest(labels):
            raise ValueError(
                f"{str(path)!r} was made for a dataset of {header['rows']} rows with other labels than the "
                f"{len(labels)} of {name!r}; its indices would mean other rows."
            )
        self._drawn = Draw(**arrays)
        self.available, self.way = len(self._drawn), self._drawn.classes.shape[1]
        self.rows, self.name, self.source_recipe = len(labels), name, header["recipe"]
        self._digest = hashlib.sha256(b"".join(array.numpy().tobytes() for array in arrays.values())).hexdigest()[:16]
        self._path = str(path)

    def draw(self, first: int = 0, count: int = 1) -> Draw:
        """Episodes ``first, ..., first + count - 1`` of the file."""
        if first < 0 or count < 0 or first + count > self.available:
            raise ValueError(f"first={first}, count={count}, but {self._path!r} holds {self.available} episodes.")
        more = self._drawn.unlabelled
        parts = {name: getattr(self._drawn, name)[first : first + count] for name in _FIELDS}
        return Draw(**parts, unlabelled=None if more is None else more[first : first + count])

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the dataset, as JSON values."""
        return {"sampler": self.kind, "episodes": self._digest, "way": self.way, "of": self.source_recipe}

    def __repr__(self) -> str:
        return f"ManifestSampler({self._path!r})"


def _labels_digest(labels: Any) -> str:
    array = _as_labels(labels.numpy() if isinstance(labels, Tensor) else labels)
    return hashlib.sha256(np.ascontiguousarray(array, "<i8").tobytes()).hexdigest()[:32]

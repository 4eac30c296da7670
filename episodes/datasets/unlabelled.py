"""`load_unlabelled`: a dataset whose labels nobody asks for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from episodes.datasets import list_datasets, load_dataset, parse_dataset
from episodes.image_source import ImageSource
from episodes.labelled_files import pictures_below
from episodes.source import Source
from episodes.spec import check_names


def load_unlabelled(spec: str | os.PathLike[str] | Source, **options: Any) -> Source:
    """A dataset as `load_dataset` reads it, but for a folder of pictures, which need not lie in folders by class.

    Pictures below such a folder are read at any depth and in the order of their paths; all are of one class
    "unlabelled".

    Args:
        spec: as for `load_dataset`.
        options: of the dataset.

    Raises:
        ValueError: as `load_dataset`.
        FileNotFoundError: as `load_dataset`.
    """
    if isinstance(spec, (str, os.PathLike)):
        name, place, written = parse_dataset(os.fspath(spec))
        folder = place if name == "folder" else f"{name}:{place}" if place else name
        plain = name == "folder" or name not in list_datasets()
        if plain and os.path.isdir(folder) and (files := pictures_below(folder)):
            given = {**written, **options}
            check_names("dataset 'folder'", given, ["size", "workers"], "option", "Its options")
            return ImageSource(files, [0] * len(files), ["unlabelled"], name=Path(folder).resolve().name, **given)
    return load_dataset(spec, **options)

"""CUB-200-2011: two hundred birds."""

from __future__ import annotations

import os
from pathlib import Path

from episodes.datasets.files import choose_part, data_root, full_name, require_by_hand
from episodes.image_source import ImageSource
from episodes.labelled_files import PICTURES, is_hidden
from episodes.splits import load_split

_URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"


def cub(
    part: str = "", *, root: str | os.PathLike[str] | None = None, split: str = "cub",
    size: int = 84, workers: int | None = None,
) -> ImageSource:  # fmt: skip
    """Photographs of 100 / 50 / 50 birds, about 60 of each; they are not cropped to the bird.

    Args:
        part: ``"train"``, ``"val"``, ``"test"``, or several with ``+``; all by default.
        root: holds ``CUB_200_2011/images``, as the archive unpacks.
        split: ``"cub"`` or ``"cub-meta-dataset"`` (140 / 30 / 30).
        size: height and width in pixels where no encoder brings its own transform.
        workers: decoding threads.

    Raises:
        ValueError: unknown part or split.
        FileNotFoundError: the files, or some birds of the split, are missing.

    Reference: Wah, Branson, Welinder, Perona, Belongie, "The Caltech-UCSD Birds-200-2011 dataset", 2011. Split: Chen,
    Liu, Kira, Wang, Huang, "A closer look at few-shot classification", ICLR 2019, arXiv:1904.04232.
    """
    if split not in ("cub", "cub-meta-dataset"):
        raise ValueError(f"split={split!r}; it must be 'cub' or 'cub-meta-dataset'.")
    parts = load_split(split)
    names = [name for chosen in choose_part("cub", part, list(parts)) for name in parts[chosen]]
    home = data_root(root)
    require_by_hand("cub", home, ["CUB_200_2011/images"], _URL)
    return labelled_folders("cub", home / "CUB_200_2011" / "images", names, full_name("cub", part), size, workers)


def labelled_folders(
    dataset: str, home: Path, names: list[str], name: str, size: int, workers: int | None
) -> ImageSource:
    """Pictures of chosen class folders.

    Raises:
        FileNotFoundError: a folder is missing or empty.
    """
    paths: list[Path] = []
    numbers: list[int] = []
    for number, entry in enumerate(names):
        folder = home / entry
        files = folder.iterdir() if folder.is_dir() else ()
        found = sorted(path for path in files if path.suffix.lower() in PICTURES and not is_hidden(path.name))
        if not found:
            raise FileNotFoundError(
                f"{dataset!r}: there are no pictures of {entry!r} in {os.fspath(home)!r}; "
                "unpack the archive completely."
            )
        paths += found
        numbers += [number] * len(found)
    return ImageSource(paths, numbers, names, size=size, workers=workers, name=name)

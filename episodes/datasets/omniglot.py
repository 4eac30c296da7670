"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawings each."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.datasets.files import choose_part, data_root, full_name, require
from episodes.image_source import ImageSource
from episodes.labelled_files import is_hidden
from episodes.source import TensorSource
from episodes.splits import load_split

_HALVES = ("images_background", "images_evaluation")
_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"


def omniglot(
    part: str = "",
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    rotations: bool = True,
    size: int = 28,
    workers: int | None = None,
) -> TensorSource:
    """Drawings ``[M, 1, size, size]``, 8 bits, as stored: ink is 0, paper is 1 when read.

    Turned by 90, 180 and 270 degrees counter-clockwise, each character makes three more classes, in the same
    part as the upright one: 4,112 / 688 / 1,692 classes, the protocol of Vinyals et al. and Snell et al.

    Args:
        part: ``"train"``, ``"val"``, ``"test"``, or several with ``+``; all by default.
        root: holds ``omniglot-py/images_background`` and ``omniglot-py/images_evaluation`` (as torchvision
            stores them) or those two folders themselves; in them alphabet/character/drawing.png.
        download: fetch them through torchvision where they are missing.
        rotations: add the turned characters as classes of their own, ``"Greek/character01/rot090"``.
        size: height and width in pixels; the drawings have 105.
        workers: decoding threads.

    Raises:
        ValueError: unknown part, or a drawing cannot be decoded.
        FileNotFoundError: the files, or some characters of the split, are missing.

    Reference: Lake, Salakhutdinov, Tenenbaum, "Human-level concept learning through probabilistic program
    induction", Science 350 (2015). Split: Vinyals et al., "Matching networks for one shot learning", NeurIPS
    2016, arXiv:1606.04080.
    """
    parts = load_split("omniglot")
    names = [name for chosen in choose_part("omniglot", part, list(parts)) for name in parts[chosen]]
    paths, numbers = _drawings(_home(data_root(root), download), names)
    files = ImageSource(paths, numbers, names, name="omniglot")
    with ThreadPoolExecutor(workers) as pool:
        drawings = np.stack(list(pool.map(lambda row: _shrink(files, row, size), range(len(files)))))
    labels = files.labels.numpy()
    if rotations:
        # Class c turned k times is class 4 c + k, so that the four stay together.
        drawings = np.concatenate([np.rot90(drawings, turns, axes=(1, 2)) for turns in range(4)])  # [4 M, size, size]
        labels = np.concatenate([4 * labels + turns for turns in range(4)])
        names = [f"{name}/rot{90 * turns:03d}" for name in names for turns in range(4)]
    return TensorSource(drawings[:, None], labels, names, name=full_name("omniglot", part))


def _home(root: Path, download: bool) -> Path:
    if all((root / half).is_dir() for half in _HALVES):
        return root

    def fetch() -> None:
        from torchvision.datasets import Omniglot

        for background in (True, False):
            Omniglot(root, background=background, download=True)

    needed = [f"omniglot-py/{half}" for half in _HALVES]
    require("omniglot", root, needed, fetch if download else None, _URL + "images_background.zip")
    return root / "omniglot-py"


def _drawings(home: Path, names: list[str]) -> tuple[list[Path], list[int]]:
    paths: list[Path] = []
    numbers: list[int] = []
    missing = []
    for number, name in enumerate(names):
        folders = [home / half / name for half in _HALVES]
        files = [path for folder in folders if folder.is_dir() for path in folder.glob("*.png")]
        found = sorted(path for path in files if not is_hidden(path.name))
        if not found:
            missing.append(name)
        paths += found
        numbers += [number] * len(found)
    if missing:
        raise FileNotFoundError(
            f"{os.fspath(home)!r} lacks {len(missing)} of the {len(names)} characters of this part, such as "
            f"{missing[0]!r}; unpack both archives completely. Characters outside the standard split: "
            f"load_dataset('folder:{(home / _HALVES[0]).as_posix()}')."
        )
    return paths, numbers


def _shrink(files: ImageSource, row: int, size: int) -> NDArray[np.uint8]:
    from PIL import Image

    drawing = files.decode(row).convert("L").resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(drawing)

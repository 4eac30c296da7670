"""CIFAR-FS and FC100: two class splits of CIFAR-100."""

from __future__ import annotations

import os

import numpy as np

from episodes.datasets.files import choose_part, data_root, full_name, require
from episodes.source import TensorSource
from episodes.splits import load_split


def cifar_fs(part: str = "", *, root: str | os.PathLike[str] | None = None, download: bool = False) -> TensorSource:
    """CIFAR-FS: 64 / 16 / 20 classes of 600 colour pictures ``[M, 3, 32, 32]``, 8 bits.

    Args:
        part: ``"train"``, ``"val"``, ``"test"``, or several with ``+``; all by default.
        root: holds ``cifar-100-python`` as torchvision stores it.
        download: fetch it through torchvision where it is missing.

    Raises:
        ValueError: unknown part, or damaged files.
        FileNotFoundError: the files are missing.

    Reference: Bertinetto, Henriques, Torr, Vedaldi, "Meta-learning with differentiable closed-form solvers",
    ICLR 2019, arXiv:1805.08136.
    """
    return _cifar("cifar-fs", part, root, download)


def fc100(part: str = "", *, root: str | os.PathLike[str] | None = None, download: bool = False) -> TensorSource:
    """FC100: 60 / 20 / 20 classes of 600 colour pictures ``[M, 3, 32, 32]``, 8 bits; no superclass is shared.

    Args:
        part: ``"train"``, ``"val"``, ``"test"``, or several with ``+``; all by default.
        root: holds ``cifar-100-python`` as torchvision stores it.
        download: fetch it through torchvision where it is missing.

    Raises:
        ValueError: unknown part, or damaged files.
        FileNotFoundError: the files are missing.

    Reference: Oreshkin, Rodriguez, Lacoste, "TADAM: Task dependent adaptive metric for improved few-shot
    learning", NeurIPS 2018, arXiv:1805.10123.
    """
    return _cifar("fc100", part, root, download)


def _cifar(name: str, part: str, root: str | os.PathLike[str] | None, download: bool) -> TensorSource:
    parts = load_split(name)
    names = [entry for chosen in choose_part(name, part, list(parts)) for entry in parts[chosen]]
    home = data_root(root)

    from torchvision.datasets import CIFAR100

    needed = [f"cifar-100-python/{file}" for file in ("train", "test", "meta")]
    fetch = (lambda: CIFAR100(home, download=True)) if download else None
    require(name, home, needed, fetch, CIFAR100.url)
    try:
        halves = [CIFAR100(home, train=train) for train in (True, False)]
    except RuntimeError as error:
        raise ValueError(
            f"'cifar-100-python' in {os.fspath(home)!r} is damaged ({error}); delete it and pass download=True."
        ) from None
    pictures = np.concatenate([half.data for half in halves])  # [60000, 32, 32, 3]
    labels = np.concatenate([half.targets for half in halves])
    number = np.full(len(halves[0].classes), -1)
    for place, entry in enumerate(names):
        number[halves[0].class_to_idx[entry]] = place
    kept = number[labels] >= 0
    pictures = np.ascontiguousarray(pictures[kept].transpose(0, 3, 1, 2))  # [M, 3, 32, 32]
    return TensorSource(pictures, number[labels[kept]], names, name=full_name(name, part))

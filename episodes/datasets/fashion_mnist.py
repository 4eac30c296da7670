"""Fashion-MNIST: ten garments in grey."""

from __future__ import annotations

import os

import numpy as np

from episodes.datasets.files import choose_part, data_root, full_name, require
from episodes.source import TensorSource


def fashion_mnist(
    part: str = "", *, root: str | os.PathLike[str] | None = None, download: bool = False
) -> TensorSource:
    """70,000 garments ``[M, 1, 28, 28]``, 8 bits, of ten classes, which both parts share.

    Args:
        part: ``"train"`` (60,000) or ``"test"`` (10,000); all by default.
        root: holds ``FashionMNIST/raw`` with the four unpacked files, as torchvision stores them.
        download: fetch them through torchvision where they are missing.

    Raises:
        ValueError: unknown part, or damaged files.
        FileNotFoundError: the files are missing.

    Reference: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", 2017, arXiv:1708.07747.
    """
    chosen = choose_part("fashion-mnist", part, ["train", "test"])
    home = data_root(root)

    from torchvision.datasets import FashionMNIST

    files = [os.path.splitext(archive)[0] for archive, _ in FashionMNIST.resources]
    fetch = (lambda: FashionMNIST(home, download=True)) if download else None
    require("fashion-mnist", home, [f"FashionMNIST/raw/{file}" for file in files], fetch, FashionMNIST.mirrors[0])
    try:
        halves = [FashionMNIST(home, train=half == "train") for half in chosen]
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise ValueError(
            f"'FashionMNIST/raw' in {os.fspath(home)!r} is damaged ({error}); delete it and pass download=True."
        ) from None
    pictures = np.concatenate([half.data.numpy() for half in halves])[:, None]  # [M, 1, 28, 28]
    labels = np.concatenate([half.targets.numpy() for half in halves])
    return TensorSource(pictures, labels, FashionMNIST.classes, name=full_name("fashion-mnist", part))

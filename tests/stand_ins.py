"""Small stand-ins in the layout of datasets that must be downloaded."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.splits import load_split

FINE = sorted(name for names in load_split("cifar-fs").values() for name in names)
_EVALUATION = {"Angelic", "Gurmukhi", "Kannada", "ULOG"}


def write_omniglot(root: Path, parts: tuple[str, ...] = ("train", "val", "test"), drawings: int = 1) -> None:
    """All characters of the parts; the top left quarter of each drawing holds the character's number."""
    split = load_split("omniglot")
    names = sorted(name for part in parts for name in split[part])
    for half in ("images_background", "images_evaluation"):
        (root / "omniglot-py" / half).mkdir(parents=True)
    for number, name in enumerate(names):
        half = "images_evaluation" if name.split("/")[0] in _EVALUATION else "images_background"
        folder = root / "omniglot-py" / half / name
        folder.mkdir(parents=True)
        drawing = np.full((105, 105), 255, np.uint8)
        drawing[:52, :52] = number % 251
        for count in range(drawings):
            Image.fromarray(drawing).save(folder / f"0001_{count + 1:02}.png")


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch, train: int = 3, test: int = 1) -> None:
    """So many pictures of each class, in torchvision's own format; the first red pixel is the class."""
    from torchvision.datasets import CIFAR100

    random = np.random.Generator(np.random.Philox(key=[0, 0]))
    folder = root / "cifar-100-python"
    folder.mkdir()
    sums = {}
    contents = {"meta": {"fine_label_names": FINE}}
    for half, each in (("train", train), ("test", test)):
        labels = random.permutation(np.repeat(np.arange(100), each))
        data = random.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        data[:, 0] = labels
        contents[half] = {"data": data, "fine_labels": labels.tolist()}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": sums["meta"]})

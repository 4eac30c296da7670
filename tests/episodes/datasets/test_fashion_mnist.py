"""Fashion-MNIST, from stand-ins of its files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from episodes import load_dataset

RANDOM = np.random.default_rng(0)


def idx(path: Path, array: np.ndarray, *, packed: bool = False) -> None:
    data = struct.pack(">I", 0x0800 + array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if packed else data)


def test_fashion_mnist(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    made = {}
    for half, count in (("train", 30), ("t10k", 20)):
        pictures, labels = (
            RANDOM.integers(0, 256, (count, 28, 28), dtype=np.uint8),
            np.arange(count, dtype=np.uint8) % 10,
        )
        idx(raw / f"{half}-images-idx3-ubyte", pictures)
        idx(raw / f"{half}-labels-idx1-ubyte", labels)
        made[half] = pictures
    test = load_dataset("fashion-mnist:test", root=tmp_path)
    np.testing.assert_array_equal(test.features[:, 0].numpy(), made["t10k"])
    assert (test.class_names[0], test.class_names[9], len(test.class_names)) == (
        "T-shirt/top",
        "Ankle boot",
        10,
    )
    both = load_dataset("fashion-mnist", root=tmp_path)
    assert (both.features.shape, both.name) == ((50, 1, 28, 28), "fashion-mnist")
    (raw / "t10k-images-idx3-ubyte").write_bytes(b"\0\0")
    with pytest.raises(ValueError, match=r"'FashionMNIST/raw' in .* is damaged"):
        load_dataset("fashion-mnist:test", root=tmp_path)

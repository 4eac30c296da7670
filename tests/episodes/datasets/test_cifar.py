"""CIFAR-FS and FC100, from stand-ins in torchvision's own format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import FINE

from episodes import load_dataset, load_split


@pytest.mark.parametrize("name", ["cifar-fs", "fc100"])
def test_cifar(cifar_root: Path, name: str) -> None:
    split = load_split(name)
    for part in split:
        source = load_dataset(f"{name}:{part}", root=cifar_root)
        assert (source.class_names, source.name) == (split[part], f"{name}:{part}")
        assert source.features.shape == (4 * len(split[part]), 3, 32, 32)
        assert torch.bincount(source.labels).tolist() == [4] * len(split[part])
        for row in range(0, len(source), 7):  # the first red pixel tells which class a picture is of
            assert source.class_names[int(source.labels[row])] == FINE[int(source.features[row, 0, 0, 0])]
    assert len(load_dataset(name, root=cifar_root)) == 400


def test_cifar_channels_are_where_torchvision_has_them(cifar_root: Path) -> None:
    from torchvision.datasets import CIFAR100

    theirs = CIFAR100(cifar_root, train=True)
    ours = load_dataset("cifar-fs", root=cifar_root)
    image, _ = theirs[5]
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    assert (ours[torch.arange(400)] == expected).flatten(1).all(1).sum() == 1


def test_damaged_cifar(cifar_root: Path) -> None:
    with (cifar_root / "cifar-100-python" / "train").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"'cifar-100-python' in .* is damaged .*delete it and pass download=True"):
        load_dataset("cifar-fs:test", root=cifar_root)

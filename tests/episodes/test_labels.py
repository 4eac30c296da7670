"""Labels and names of classes: any kind, never mixed, merged or renumbered by size."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from episodes import EpisodeSampler, ImageSource, TensorSource
from episodes.labels import label_array, name_list

RANDOM = np.random.default_rng(0)


def noise(height: int = 30, width: int = 40) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_numbers_and_names_are_never_mixed() -> None:
    for mixed in (["a", 1], [1, "a"], np.array(["a", 1], dtype=object), ("a", 1.0), [True, "a"], [True, 2]):
        with pytest.raises(ValueError, match=r"mixture of .*row 0.*row 1"):
            TensorSource(torch.eye(2), mixed)
    assert label_array([np.int64(3), 2, np.int32(1)]).tolist() == [3, 2, 1]
    assert label_array([torch.tensor(3), torch.tensor(1)]).tolist() == [3, 1]


def test_large_labels_do_not_merge() -> None:
    source = TensorSource(torch.eye(3), [2**63, 2**63 + 1, 2**63])
    assert source.class_names == [str(2**63), str(2**63 + 1)]
    for wrong in ([1e19, 2e19, 0.0], [float("inf"), 0.0, -float("inf")], [2.0**53, 2.0**53 + 2, 0.0]):
        with pytest.raises(ValueError, match=r"row 0 of labels of 'birds'"):
            TensorSource(torch.eye(3), wrong, name="birds")
        with pytest.raises(ValueError, match=r"row 0"):
            TensorSource(torch.eye(3), torch.tensor(wrong, dtype=torch.float64), name="birds")


def test_labels_far_apart_need_no_table() -> None:
    labels = [500_000_000, 3] * 20
    source = TensorSource(torch.rand(40, 2), labels)
    assert source.class_names == ["3", "500000000"]
    tracemalloc.start()
    try:
        for given in (np.array(labels), source.labels):
            EpisodeSampler(given, way=2, shot=1, query=5).draw(0, 3)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_padded_numbers_are_names(tmp_path: Path) -> None:
    lines = [f"{name}.png,{label}" for name, label in (("a", "01"), ("b", "1"), ("c", "01"))]
    for name in "abc":
        Image.fromarray(noise()).save(tmp_path / f"{name}.png")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    source = ImageSource.from_csv(tmp_path / "index.csv")
    assert (source.class_names, source.labels.tolist()) == (["01", "1"], [0, 1, 0])


def test_names() -> None:
    assert name_list(np.array(["owl", "crow"])) == ["owl", "crow"]
    for wrong in ("owl", None, ["owl", None], 3):
        with pytest.raises(ValueError, match=r"class_names are|name 1 of class_names is missing"):
            name_list(wrong)
    with pytest.raises(ValueError, match="one string, 'ab'"):
        TensorSource(torch.eye(2), [0, 1], "ab")

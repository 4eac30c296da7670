"""What an item is: a file, a text or an image; one or many; whole numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from episodes import EpisodeSampler, ImageSource, TensorSource, evaluate
from episodes.inputs import check_whole, item_kind, looks_like_path, rows_of
from episodes.pictures import CentreCrop

RANDOM = np.random.default_rng(0)


def noise(height: int = 30, width: int = 40) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "string",
    [
        "typo/heart.jpg", "HEART.PNG", "~/photos", "~/a b.png", "./x", "../x", "/data/x", "C:\\photos\\x", "C:/x.png",
        "\\\\server\\x", "http://example.org/a", "s3://bucket/key", "file:///a b.jpg", "data/table.csv",
    ],
)  # fmt: skip
def test_strings_written_like_paths(string: str) -> None:
    assert looks_like_path(string)


@pytest.mark.parametrize(
    "string",
    [
        "", "/", "~", ".", "...", "and/or", "either/or/both", "see file.txt for more", "look at heart.jpg", "Mr. Smith",
        "example.com", "3.5", "e.g.", "/s that was ironic", "http is a protocol", "a: b", ".txt", "owl", "TCP/IP",
        "24/7", "I was at https://example.org/x.jpg yesterday",
    ],
)  # fmt: skip
def test_strings_that_are_texts(string: str) -> None:
    assert not looks_like_path(string)
    assert item_kind(string, on_disk=False) == "text"


def test_a_file_that_exists_is_a_file_whatever_its_name(tmp_path: Path) -> None:
    odd = tmp_path / "my owl"
    odd.write_bytes(b"")
    assert item_kind(str(odd)) == "file"
    assert item_kind("x" * 10_000) == item_kind("a\0b") == "text"


def test_one_item_is_not_a_collection() -> None:
    for one in ("owl", b"owl", Path("owl"), Image.new("RGB", (4, 4)), np.zeros((64, 48, 3)), torch.zeros(3, 9, 9), 7):
        with pytest.raises(ValueError, match=r"^X is"):
            rows_of(one)
    assert rows_of(word for word in ("a", "b")) == ["a", "b"]
    with pytest.raises(ValueError, match="a single row or number"):
        rows_of(np.zeros(3))


def test_whole_numbers() -> None:
    for wrong in (1.5, 1.0, True, 0, "3", None, float("nan")):
        with pytest.raises(ValueError, match="size="):
            check_whole("size", wrong)
        with pytest.raises(ValueError, match="size="):
            CentreCrop(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"workers=1\.5"):
        ImageSource([noise()], [0], workers=1.5)  # type: ignore[arg-type]


def test_arguments_of_evaluate_in_the_wrong_order() -> None:
    source = TensorSource(torch.eye(3).repeat_interleave(20, 0), [0] * 20 + [1] * 20 + [2] * 20)
    sampler = EpisodeSampler(source.labels, way=2, shot=1, query=5)
    for wrong in (("prototypes", sampler, source), (source, "prototypes", sampler), (sampler, source, "prototypes")):
        with pytest.raises(ValueError, match=r"evaluate\(learners, source, sampler\): "):
            evaluate(*wrong, episodes=2, progress=False)  # type: ignore[arg-type]

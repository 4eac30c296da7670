"""Recorded spaces: ids, keys and rows that earlier versions wrote are found, whatever the code has become."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from episodes import TensorSource
from episodes.text_source import TextSource
from fewshot import EmbeddingCache, embed
from fewshot.encoders import Encoder

RECORDED = Path(__file__).parents[1] / "files" / "recorded-cache"
PICTURES = [np.arange(12 * shade, 12 * shade + 48, dtype=np.uint8).reshape(4, 4, 3) for shade in range(3)]
TENSORS = torch.arange(36.0).reshape(3, 3, 2, 2) / 64


class Letters(Encoder):
    """Counts of letters, under an identity that no library has a part in."""

    name, dim = "letters", 26

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"family": "letters"}

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float(text.count(chr(97 + i))) for i in range(26)] for text in texts])


class Pairs(torch.utils.data.Dataset[Any]):
    """A torch dataset of arrays with labels."""

    targets = (0, 1, 0)

    def __len__(self) -> int:
        return len(PICTURES)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return PICTURES[row], self.targets[row]


def files(folder: Path) -> list[Path]:
    """A picture of 8 and one of 16 bits, written here so that their bytes are the same on every machine."""
    eight, sixteen = folder / "eight.ppm", folder / "sixteen.pgm"
    eight.write_bytes(b"P6\n4 4\n255\n" + PICTURES[1].tobytes())
    sixteen.write_bytes(b"P5\n3 2\n65535\n" + struct.pack(">6H", 0, 500, 1000, 40000, 50000, 65535))
    return [eight, sixteen]


def datasets(folder: Path) -> dict[str, tuple[Any, Any, dict[str, Any]]]:
    """What is embedded, by what, and how."""
    return {
        "pictures": (PICTURES, "pixels(size=2)", {}),
        "files": (files(folder), "pixels(size=3)", {"storage": "float32"}),
        "torch dataset": (Pairs(), "pixels(size=4)", {}),
        "tensors": (TENSORS, "pixels", {}),
        "features": (TensorSource(torch.eye(4), [0, 1, 0, 1]), "pixels", {}),
        "texts": (TextSource(["an owl", "Eulen", "żółw"], ["a", "b", "b"]), Letters(), {}),
        "bfloat16": (PICTURES, "pixels(size=2)", {"precision": "bfloat16"}),
    }


SPACES = {
    "bfloat16": "40f14b4433430a959130be52f923d8fe",
    "features": "2416510d44fe14dd33220ed3556708a6",
    "files": "a31c6acba819f1a76a3f3a8887565838",
    "pictures": "cefa8af89d76c585656760bb8fe0b0c5",
    "tensors": "55ac51f44b6b72ae4c37652710e02fac",
    "texts": "5c27ad6bdb184c3ac8f682c2c21108ce",
    "torch dataset": "94a08c64831e2c3821eb9b6d478f6493",
}
KEYS = {
    "bfloat16": [
        "7a5313e97a7e77c92f0a94e3b1a7613e",
        "2641ca6aaf6c06eefbe9bb925fdb3507",
        "e7c7d31010e5a2a2ab0acedca3a5511d",
    ],
    "features": [
        "3634a4951a0d1d6ca51e6b53a29f3407",
        "0470659d8da73ea44390651ddc63a720",
        "8e4e16866545146bfd84a9a9e1980303",
        "02cd6270e7b68260f7386c0d8242a954",
    ],
    "files": ["2641ca6aaf6c06eefbe9bb925fdb3507", "167e21e48950ff331fb6bfbf6b840509"],
    "pictures": [
        "7a5313e97a7e77c92f0a94e3b1a7613e",
        "2641ca6aaf6c06eefbe9bb925fdb3507",
        "e7c7d31010e5a2a2ab0acedca3a5511d",
    ],
    "tensors": [
        "d90530844a4caed57d77ffe0e24219fa",
        "78bc5c9fbc91295364e3de0bdde4e3d0",
        "b2646d9ae9ddbed1a34863be8a486b8d",
    ],
    "texts": [
        "e1bc6b2f7bb8628e5ffe9337652bf6ba",
        "cc8b357849d4764e59258137600c0ae8",
        "7d2f637f77a75173c2023e7f43829cb6",
    ],
    "torch dataset": [
        "7a5313e97a7e77c92f0a94e3b1a7613e",
        "2641ca6aaf6c06eefbe9bb925fdb3507",
        "e7c7d31010e5a2a2ab0acedca3a5511d",
    ],
}
VIEWS = ["fe40f83c3eb7df9691204289342cfb75", "d3ee42865005f7b0ac56809504771efe"]


@pytest.mark.parametrize("name", SPACES)
def test_space_and_keys_are_the_recorded_ones_and_every_row_is_found(name: str, tmp_path: Path) -> None:
    shutil.copytree(RECORDED, tmp_path / "cache")
    dataset, encoder, options = datasets(tmp_path)[name]
    source = embed(dataset, encoder, cache=tmp_path / "cache", **options)
    assert source.report["space"] == SPACES[name]
    assert [bytes(key).hex() for key in source.keys[:, 0]] == KEYS[name]
    assert (source.report["hits"], source.report["computed"]) == (len(KEYS[name]), 0)
    fresh = embed(dataset, encoder, cache=False, **options)
    torch.testing.assert_close(source.features, fresh.features, rtol=1e-3, atol=1e-3)


def test_views_are_kept_under_their_recorded_names(tmp_path: Path) -> None:
    source = embed(PICTURES[:1], "pixels(size=2)", cache=tmp_path, views=2, seed=5)
    spec = EmbeddingCache(tmp_path).open(source.report["space"]).spec
    assert spec["augment"].keys() == {"library", "version"}
    assert spec["augment"]["library"] == "fewshot.embedding.views.crop_and_flip"
    assert [bytes(key).hex() for key in source.keys[0]] == VIEWS

"""Copies for a forward pass: the same bits, and tensors that are shared but for weights laid out once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from embedding_examples import write_photographs
from torch import Tensor, nn

from fewshot import embed, load_encoder
from fewshot.embedding import filling
from fewshot.embedding.copies import laid_out, with_weights_laid_out
from fewshot.embedding.forward import Forward
from fewshot.encoders import ModuleEncoder, Preprocess

CPU = torch.device("cpu")


class Net(nn.Module):
    """Two convolutions and a linear layer, large enough for channels last to gain."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 3500, 3))
        self.last = nn.Linear(3500, 8)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.body(images).mean((2, 3)))  # type: ignore[no-any-return]


class Looks(Net):
    """Looks at the type of a weight."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + float(self.last.weight.dtype == torch.bfloat16)


class Scales(nn.Linear):
    """A layer of its own kind."""

    def forward(self, rows: Tensor) -> Tensor:
        return super().forward(rows) * self.weight.sum()


def model(network: nn.Module) -> ModuleEncoder:
    return ModuleEncoder(network.eval(), Preprocess(12, 14), version="1")


def forward(network: nn.Module, precision: str) -> Forward:
    return Forward(model(network), CPU, precision, torch.float32)


IMAGES = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_bits(precision: str) -> None:
    plain = forward(Net(), precision)
    laid = with_weights_laid_out(plain, "images", lambda: IMAGES[:2])
    assert laid is not plain and laid.channels_last
    assert torch.equal(laid(IMAGES), plain(IMAGES))
    weight = laid.worker.module.body[0].weight
    assert weight.dtype == getattr(torch, precision) and weight.is_contiguous(memory_format=torch.channels_last)
    assert plain.encoder.module.body[0].weight.dtype == torch.float32, "the encoder's own stay as they are"
    assert laid.encoder is plain.encoder


def test_a_network_that_looks_at_its_weights_keeps_them() -> None:
    plain = forward(Looks(), "bfloat16")
    assert with_weights_laid_out(plain, "images", lambda: IMAGES[:2]) is plain


def test_layers_of_another_kind_and_other_tensors_are_shared() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), Scales(4, 2))
    made: Any = laid_out(network, "bfloat16", channels_last=False)
    assert made[0].weight.dtype == made[0].bias.dtype == torch.bfloat16
    assert made[1].weight is network[1].weight and made[1].running_mean is network[1].running_mean
    assert made[3].weight is network[3].weight


def test_nothing_to_gain() -> None:
    small = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    plain = forward(small, "float32")
    assert with_weights_laid_out(plain, "images", lambda: pytest.fail("compared for nothing")) is plain
    words = Forward(load_encoder("pixels(size=4)"), CPU, "bfloat16", torch.float32)
    assert with_weights_laid_out(words, "images", lambda: pytest.fail("it has no network")) is words


def test_embed_computes_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photographs = write_photographs(tmp_path) * 2
    monkeypatch.setattr(filling, "_MANY", 10**9)
    true = embed(photographs, model(Net()), cache=False, device="cpu", precision="bfloat16", batch_size=4)
    monkeypatch.setattr(filling, "_MANY", 1)
    used: list[bool] = []
    lay = with_weights_laid_out

    def note(*given: Any) -> Forward:
        laid = lay(*given)
        used.append(laid is not given[0])
        return laid

    monkeypatch.setattr(filling, "with_weights_laid_out", note)
    found = embed(photographs, model(Net()), cache=False, device="cpu", precision="bfloat16", batch_size=4)
    assert used == [True]
    assert torch.equal(found.features, true.features)

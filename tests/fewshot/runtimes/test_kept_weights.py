"""Weights that are kept in lower precision between calls: the same bits, nothing stale, and only where it pays."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from embedding_examples import write_photographs
from torch import Tensor, nn

from episodes.any_source import as_source
from fewshot import embed
from fewshot.embedding.embed_dataset import embed_few
from fewshot.embedding.forward import Forward
from fewshot.encoders import ModuleEncoder, Preprocess
from fewshot.runtimes import choosing, kept_weights
from fewshot.runtimes.kept_weights import forget_weights, with_kept_weights

CPU = torch.device("cpu")


class Net(nn.Module):
    """A convolution and a linear layer, which may look at the type of its weight."""

    looks = False

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        rows: Tensor = self.last(self.first(images).mean((2, 3)))
        return rows + float(self.looks and self.last.weight.dtype == torch.bfloat16)


def model() -> ModuleEncoder:
    return ModuleEncoder(Net().eval(), Preprocess(12, 14), version="1")


IMAGES = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def asked(encoder: Any, source: Any, precision: str = "bfloat16") -> Forward:
    plain = Forward(encoder, CPU, precision, torch.float32)
    found = with_kept_weights(plain, "images", source)
    assert torch.equal(found(IMAGES), plain(IMAGES)), "not one bit changes"
    return found


@pytest.fixture
def source(tmp_path: Path) -> Any:
    return as_source(write_photographs(tmp_path)[:3], model())


def laid(forward: Forward) -> bool:
    return bool(forward.worker.module.last.weight.dtype == torch.bfloat16)


def test_from_the_second_call_on(source: Any) -> None:
    encoder = model()
    assert not laid(asked(encoder, source))
    second, third = asked(encoder, source), asked(encoder, source)
    assert laid(second) and laid(third) and second.worker.module is third.worker.module
    assert encoder.module.last.weight.dtype == torch.float32 and second.encoder is encoder
    forget_weights(encoder)
    assert not laid(asked(encoder, source))


def test_weights_that_change_are_followed(source: Any) -> None:
    encoder = model()
    for _ in range(2):
        found = asked(encoder, source)
    assert laid(found)
    with torch.no_grad():
        encoder.module.last.weight.mul_(2)
    assert not laid(asked(encoder, source))
    assert laid(asked(encoder, source)), "`asked` compares the rows"
    encoder.module.last = nn.Linear(8, 5)
    assert not laid(asked(encoder, source))


def test_not_where_weights_would_be_there_twice_or_change_something(source: Any) -> None:
    encoder = model()
    assert not any(laid(asked(encoder, source, "float32")) for _ in range(3))
    encoder.module.looks = True
    assert not any(laid(asked(encoder, source)) for _ in range(3))


def test_nothing_outlives_the_encoder(source: Any) -> None:
    encoder = model()
    for _ in range(2):
        asked(encoder, source)
    gone = weakref.ref(encoder)
    del encoder
    gc.collect()
    assert gone() is None


def test_a_service_asks_for_them(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = model()
    rows = embed(source, encoder, cache=False, device="cpu", precision="bfloat16", storage="float32").features
    monkeypatch.setitem(choosing._last, encoder, {"images": ("bfloat16", None, None)})
    first, second = embed_few(source, encoder, "cpu"), embed_few(source, encoder, "cpu")
    assert kept_weights._kept[encoder]["images"].module is not None
    assert torch.equal(first, second)
    torch.testing.assert_close(second, rows, rtol=1e-2, atol=1e-2)
    embed(source, encoder, cache=False, device="cpu")
    assert encoder not in kept_weights._kept, "what computes many has a copy of its own"

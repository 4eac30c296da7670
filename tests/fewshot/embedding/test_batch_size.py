"""The batch size that is found on the work itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from fewshot import embed
from fewshot.embedding import filling
from fewshot.embedding.forward import BatchSize
from fewshot.encoders import Encoder

CPU = torch.device("cpu")


def search(time_of: dict[int, float], size: BatchSize) -> list[int]:
    """The sizes tried, if a batch of n items takes time_of[n] seconds."""
    tried = []
    while size.searching:
        tried.append(size.size)
        size.note(size.size, size.size, time_of[size.size])
    return tried


def test_it_grows_while_an_item_becomes_cheaper() -> None:
    size = BatchSize(None, CPU)
    assert search({2: 2.0, 4: 3.0, 8: 4.0, 16: 7.9}, size) == [2] * 3 + [4] * 3 + [8] * 3 + [16] * 3
    assert size.size == 8, "16 gains less than 5 %, so it is only more memory"


def test_texts_begin_with_more() -> None:
    assert BatchSize(None, CPU, texts=True).size > BatchSize(None, CPU).size
    assert BatchSize(3, CPU, texts=True).size == 3


def test_it_ends_at_the_largest() -> None:
    size = BatchSize(None, CPU)
    search({2**n: 1.0 for n in range(9)}, size)
    assert size.size == 256


def test_the_fastest_of_several_batches_counts() -> None:
    size = BatchSize(None, CPU)
    for seconds in (9.0, 1.0, 9.0, 50.0, 1.0, 50.0):
        size.note(size.size, size.size, seconds)
    assert size.size == 8


def test_batches_of_another_size_do_not_count() -> None:
    size = BatchSize(None, CPU)
    for _ in range(9):
        size.note(7, 7, 0.1)  # the end of the work, or what was decoded ahead
    assert size.size == 2 and size.searching


def test_a_fixed_size_stays() -> None:
    size = BatchSize(3, CPU)
    size.note(3, 3, 1.0)
    assert (size.size, size.searching) == (3, False)


def test_memory_ends_the_search() -> None:
    size = BatchSize(None, CPU)
    for seconds in (1.0, 1.0, 1.0):
        size.note(2, 2, seconds)
    size.settle(limit=1)
    assert (size.size, size.searching) == (1, False)


class Clock:
    """Time that passes only in forward passes."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Slow(Encoder):
    """An item takes longer the smaller its batch, down to a batch of 32."""

    name, dim, transform = "slow", 2, None

    def __init__(self, clock: Clock) -> None:
        self.clock, self.batches = clock, list[int]()

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"family": "slow"}

    def encode_images(self, images: Tensor) -> Tensor:
        self.clock.now += 10 + max(len(images), 32) * len(images) / 32
        self.batches.append(len(images))
        return images.flatten(1)[:, :2].clone()

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.clock.now += 10 + sum(map(len, texts))
        self.batches.append(len(texts))
        return torch.tensor([[float(len(text)), 1.0] for text in texts])


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    clock = Clock()
    monkeypatch.setattr(filling, "time", clock)
    monkeypatch.setattr(filling, "_found", {})
    return Slow(clock)


def test_embed_finds_it_and_remembers_it(slow: Slow, tmp_path: Any) -> None:
    images = torch.rand(1000, 1, 4, 4)
    source = embed(images, slow, cache=tmp_path, storage="float32")
    assert torch.equal(source.features, images.flatten(1)[:, :2])
    assert sorted(set(slow.batches[:-1])) == [2, 4, 8, 16, 32, 64]
    assert source.report["batch_size"] == 32
    slow.batches.clear()
    embed(torch.rand(100, 1, 4, 4), slow, cache=tmp_path, storage="float32")
    assert slow.batches == [32, 32, 32, 4], "the next call need not search again"


def test_texts_that_become_shorter_do_not_look_faster(slow: Slow) -> None:
    texts = [f"{n} " + "x" * (3000 - 2 * n) for n in range(1200)]
    source = embed(texts, slow, cache=False, storage="float32")
    assert source.features[:, 0].tolist() == [len(text) for text in texts]
    assert source.report["batch_size"] == 16, "a character costs the same in every batch, so larger ones gain nothing"


def test_a_given_size_is_kept(slow: Slow) -> None:
    embed(torch.rand(10, 1, 4, 4), slow, cache=False, batch_size=4)
    assert slow.batches == [4, 4, 2]

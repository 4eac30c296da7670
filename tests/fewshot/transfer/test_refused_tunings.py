"""Strategies, options, networks and rows that are refused, with words that say what to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from tuning_examples import conv4, pictures, tune

from episodes import TensorSource, TextSource
from fewshot.encoders import Encoder, ModuleEncoder
from fewshot.transfer.strategies import load_strategies


class Plain(nn.Module):
    """One layer, with neither blocks nor norms nor a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Linear(3 * 32 * 32, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.only(x.flatten(1))
        return out


class Bags(Encoder):
    """Letters counted: texts, and a network that does not say how it could be trained on them."""

    name, dim = "bags", 26

    def __init__(self) -> None:
        self.module = nn.Linear(26, 26)

    def encode_texts(self, texts: Any) -> Tensor:
        """Counts."""
        return torch.tensor([[float(text.count(chr(97 + n))) for n in range(26)] for text in texts])


@pytest.mark.parametrize(
    ("strategy", "options", "words"),
    [
        ("last(0)", {}, r"last\(0\); it trains at least one stage"),
        ("last(9)", {}, r"last\(9\), but there are 4 stages \(layers.0, .*\); 'full' trains all"),
        ("lasst(2)", {}, "unknown strategy 'lasst'; did you mean 'last'"),
        ("last(2, rate=3)", {}, "'last' has no argument 'rate'"),
        ("last(2, k=3)", {}, "were given without a name"),
        ("last(2, lr=-1)", {}, r"last\(lr=-1\); it must be positive"),
        ("last(", {}, "cannot read the spec"),
        ("linear-probe | scratch", {}, "can only come first"),
        ("scratch", {"wise": 0.5}, "which 'scratch' throws away"),
        ("lora(2)", {"l2_sp": 0.1}, "'lora' does not move them"),
        ("lora(2, targets=['qkw'])", {}, "layer to adapt 'qkw'"),
        ("gradual(every=0)", {}, "gradual"),
        ("full", {"head": "random"}, "head='random'; it must be one of prototypes, ridge, zero"),
        ("full", {"batch_size": 0}, "batch_size=0; it must be at least 1"),
        ("full", {"mixup": -1}, "mixup=-1"),
        ("full", {"wise": 2}, "wise=2; it must be in 0..1"),
        ("full", {"optimizer": "lion"}, "optimizer='lion'"),
        ("full", {"schedule": "step"}, "schedule='step'"),
    ],
)
def test_arguments_that_are_refused(strategy: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tune(conv4(), strategy, **options)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("last(1)", "Plain shows no blocks to count"),
        ("gradual", "Plain shows no blocks to count"),
        ("norm", "'norm', but Plain has no normalisation layer"),
        ("bias", "'bias', but Plain has no biases"),
    ],
)
def test_networks_that_a_strategy_finds_nothing_in(strategy: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tune(ModuleEncoder(Plain()), strategy)
    assert tune(ModuleEncoder(Plain()), "full", epochs=1).changed == ["only.weight"]


def test_rows_and_encoders_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source = pictures()
    few = TensorSource(source.features[:2], source.labels[:2], source.class_names)
    with pytest.raises(ValueError, match="has 2 rows for 3 classes, and none of 'cow'"):
        tune(conv4(), "full", few)
    with pytest.raises(ValueError, match="1 class; a classifier needs at least two"):
        tune(conv4(), "full", source.features)
    with pytest.raises(ValueError, match="'pixels' has no network to train; 'linear-probe'"):
        tune("pixels", "last(1)")
    assert tune("pixels", "linear-probe", epochs=1).changed == []
    stray = TensorSource(source.features, source.labels, ["ant", "bee", "dog"])
    with pytest.raises(ValueError, match="of class 'dog', which is not trained"):
        tune(conv4(), "full", validation=stray)
    texts = TextSource(["a", "b"], [0, 1])
    with pytest.raises(ValueError, match="there are 3 stages"):
        tune("fewshot:tiny-clip", "last(9)", texts)
    with pytest.raises(ValueError, match="'bags' has no tower for texts that can be trained here"):
        tune(Bags(), "lora(2)", texts)
    assert tune(Bags(), "linear-probe", texts).changed == []
    with pytest.raises(ValueError, match="augment and mixup are of images"):
        tune("fewshot:tiny-clip", "last(1)", texts, augment="flip")
    with pytest.raises(ValueError, match="holds texts, but 'Conv4' encodes images only"):
        tune(conv4(), "full", TextSource(["a", "b"], [0, 1]))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="are not on this machine"):
        tune("timm:resnet50.a1_in1k", "full")


def test_strategies_read_and_written() -> None:
    for spec in ("linear-probe", "last(k=2)", "lora(rank=4, targets=['qkv'])", "gradual(every=2, epochs=3)"):
        assert repr(load_strategies(spec)[0]) == spec
    assert [repr(part) for part in load_strategies("lp-ft(lr=0.01)")] == ["linear-probe", "full(lr=0.01, head_lr=0.01)"]

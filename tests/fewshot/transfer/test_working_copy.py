"""The copy that is trained: the encoder stays, what changed is named, and modes come back."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from tuning_examples import conv4, pictures, state

from fewshot.encoders import ModuleEncoder, load_encoder
from fewshot.transfer.strategies import load_strategies
from fewshot.transfer.working_copy import WorkingCopy

CPU = torch.device("cpu")


def test_what_changed_is_named_and_interpolated_and_the_encoder_stays() -> None:
    given = conv4()
    given.module.layers[0].weight.requires_grad_(False)  # type: ignore[index, union-attr, operator]
    before = state(given)
    working = WorkingCopy(given, "images", CPU)
    origin = working.parameters()
    network = working.model.module
    assert network is not None and working.body is not None
    network.train().requires_grad_(True)
    with torch.no_grad():
        network.layers[4].weight.add_(2.0)  # type: ignore[index, union-attr, operator]
    assert working.finish(0.25) == ["layers.4.weight"]
    moved = before["layers.4.weight"] + 0.5
    torch.testing.assert_close(state(working.model)["layers.4.weight"], moved)
    assert all(torch.equal(origin[name], before[name]) for name in origin)
    assert list(origin) == [name for name, _ in network.named_parameters()]
    assert all(torch.equal(value, before[name]) for name, value in state(given).items())
    assert not network.training
    assert [value.requires_grad for value in network.parameters()] == [False] + 15 * [True]


def test_a_head_alone_needs_no_network() -> None:
    working = WorkingCopy(load_encoder("pixels"), "images", CPU, trains=False)
    assert working.body is None and working.parameters() == {} and working.finish() == []
    assert working.anatomy(None, load_strategies("last(1)")).parts == []
    with pytest.raises(ValueError, match="has no network to train"):
        WorkingCopy(load_encoder("pixels"), "images", CPU)


def test_a_network_without_blocks_refuses_to_count_them() -> None:
    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = nn.Linear(3 * 32 * 32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.only(x.flatten(1))  # type: ignore[no-any-return]

    working = WorkingCopy(ModuleEncoder(Alone()), "images", CPU)
    example = pictures(2).features
    assert working.anatomy(example, load_strategies("full")).problem
    with pytest.raises(ValueError, match="Alone shows no blocks to count"):
        working.anatomy(example, load_strategies("last(1)"))

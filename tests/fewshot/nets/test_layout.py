"""The order of numbers in memory."""

from __future__ import annotations

import pytest
import torch

from fewshot.nets.layout import channels_last


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_changes_the_order_and_nothing_else(channels: int) -> None:
    x = torch.rand(2, 4, channels, 5, 6, generator=torch.Generator().manual_seed(0))
    found = channels_last(x[0])
    assert torch.equal(found, x[0]) and found.stride() == (30 * channels, 1, 6 * channels, channels)
    assert torch.equal(torch.func.vmap(channels_last)(x), x)

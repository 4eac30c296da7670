"""ResNet-12 and DropBlock."""

from __future__ import annotations

import torch


def test_resnet12_and_dropblock() -> None:
    from fewshot.nets.resnet12 import DropBlock, ResNet12

    net = ResNet12((3, 32, 32), widths=(8, 12, 16, 24), drop=0.3).eval()
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 24) and net.dim == 24
    drop = DropBlock(0.3, 3).train()
    drop.generator.manual_seed(0)
    x = torch.ones(8, 4, 12, 12)
    y = drop(x)
    assert 0.1 < float((y == 0).float().mean()) < 0.5 and abs(float(y.mean()) - 1) < 1e-4
    drop.generator.manual_seed(0)
    assert torch.equal(drop(x), y) and torch.equal(drop.eval()(x), x)

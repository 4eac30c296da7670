"""Stages of networks, and cutting a network into a frozen prefix and a suffix."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import nn

from episodes.identity import describe_architecture
from fewshot.nets.conv4 import Conv4
from fewshot.transfer.cut import Cut
from fewshot.transfer.stages import stages

NETWORKS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "timm mobilenet": (
        lambda: timm.create_model("mobilenetv2_100", num_classes=0),
        ["conv_stem", *(f"blocks.{n}" for n in range(7))],
    ),
    "timm vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32),
        ["patch_embed", *(f"blocks.{n}" for n in range(12))],
    ),
    "torchvision resnet": (
        lambda: torchvision.models.resnet18(),
        ["conv1", "layer1", "layer2", "layer3", "layer4", "avgpool"],
    ),
    "torchvision vgg": (
        lambda: torchvision.models.vgg11(init_weights=False),
        ["features.0", "features.3", "features.6", "features.11", "features.16", "avgpool"],
    ),
    "sequence of blocks": (
        lambda: nn.Sequential(*(nn.Sequential(nn.Conv2d(n, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU()) for n in (3, 4, 4))),
        ["0", "1", "2"],
    ),
    "conv4": (lambda: Conv4((3, 32, 32)), ["layers.0", "layers.4", "layers.8", "layers.12"]),
}


@pytest.fixture(params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, list[str]]:
    make, names = NETWORKS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval(), names


def test_stages_are_the_blocks_and_hold_every_weight_once(network: tuple[nn.Module, list[str]]) -> None:
    module, names = network
    found = stages(module)
    assert [stage.name for stage in found] == names
    held = [name for stage in found for name in stage.parameters]
    assert sorted(held) == sorted(dict(module.named_parameters()))
    assert sum(stage.count for stage in found) == sum(p.numel() for p in module.parameters())


def test_prefix_and_suffix_are_the_network(network: tuple[nn.Module, list[str]]) -> None:
    module, names = network
    generator = torch.Generator().manual_seed(1)
    example, batch = (torch.randn(size, 3, 32, 32, generator=generator) for size in (2, 3))
    before = describe_architecture(module)
    for stage in (1, len(names) // 2, -1):
        cut = Cut(module, stage, example)
        with torch.no_grad():
            activations = cut.prefix(batch)
            assert activations.shape == (3, *cut.shape)
            torch.testing.assert_close(cut.suffix(activations), module(batch), rtol=0, atol=0)
    assert describe_architecture(module) == before  # nothing is left behind


def test_the_suffix_alone_gets_the_gradient_of_the_whole() -> None:
    module = NETWORKS["conv4"][0]().eval()
    batch = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    module(batch).square().sum().backward()
    last = stages(module)[-1].parameters
    late = {name: p.grad.clone() for name, p in module.named_parameters() if name in last and p.grad is not None}
    module.zero_grad()
    cut = Cut(module, -1, batch)
    with torch.no_grad():
        activations = cut.prefix(batch)
    cut.suffix(activations).square().sum().backward()
    assert late
    for name, parameter in module.named_parameters():
        if name in late:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, late[name])
        else:
            assert parameter.grad is None


def test_a_cut_that_more_than_one_tensor_crosses_is_refused() -> None:
    class Blocks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
            self.inner = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Sequential(nn.Linear(4, 4)))
            self.last = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            low: torch.Tensor = self.stem(x)
            out: torch.Tensor = self.last(self.inner(low) + low)
            return out

    module, rows = Blocks(), torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    assert Cut(module, 2, rows).shape == (4,)
    words = r"before stage 1 \('inner'\): more than one tensor crosses there. It can before stages 2 \('last'\)"
    with pytest.raises(ValueError, match=words):
        Cut(module, 1, rows)


@pytest.mark.parametrize("stage", [0, 4, -4])
def test_a_stage_that_does_not_exist(stage: int) -> None:
    with pytest.raises(ValueError, match=r"Conv4 can be cut before stages 1 to 3"):
        Cut(NETWORKS["conv4"][0](), stage, torch.zeros(1, 3, 32, 32))


def test_a_network_without_blocks() -> None:
    with pytest.raises(ValueError, match=r"Linear shows no blocks to count"):
        stages(nn.Linear(3, 2))

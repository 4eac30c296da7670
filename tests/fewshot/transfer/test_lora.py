"""LoRA: counts, the beginning, merging, and what may be adapted."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from fewshot.transfer.lora import add_lora, merge_lora


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 5)
        ).eval()


ROWS = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rank", [1, 4])
def test_counts_and_the_beginning(rank: int) -> None:
    net = network()
    before = net(ROWS)
    assert add_lora(net, rank) == ["0", "4"]
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert trained == rank * (3 * 9 + 8) + rank * (8 * 16 + 5)
    torch.testing.assert_close(net(ROWS), before, rtol=0, atol=0)


def test_merged_equals_adapted_and_leaves_no_trace() -> None:
    net, names = network(), list(network().state_dict())
    add_lora(net, 2, alpha=3.0)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net(ROWS).square().mean().backward()
        optimizer.step()
    adapted = net(ROWS)
    assert not torch.allclose(adapted, network()(ROWS))
    merged = merge_lora(net)
    torch.testing.assert_close(merged(ROWS), adapted, rtol=1e-5, atol=1e-5)
    assert sorted(merged.state_dict()) == sorted(names)
    assert type(merged[4]) is nn.Linear  # type: ignore[index]


def test_by_hand() -> None:
    layer = nn.Sequential(nn.Linear(4, 3))
    weight, bias = layer[0].weight.detach().clone(), layer[0].bias.detach().clone()
    add_lora(layer, 2, alpha=6.0)
    addition = layer[0].parametrizations.weight[0]  # type: ignore[union-attr, index]
    with torch.no_grad():
        addition.B.copy_(torch.arange(6.0).reshape(3, 2))
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    expected = x @ weight.T + 6 / 2 * (x @ addition.A.T) @ addition.B.T + bias
    torch.testing.assert_close(layer(x), expected)


def test_targets_by_the_ends_of_names() -> None:
    net = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=2)
    assert add_lora(net, 2, targets=["attn.qkv"]) == ["blocks.0.attn.qkv", "blocks.1.attn.qkv"]
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 2 * 2 * (192 + 3 * 192)


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    nets = [network() for _ in range(3)]
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        add_lora(net, 2, seed=seed)
    first, again, other = (dict(net.named_parameters())["0.parametrizations.weight.0.A"] for net in nets)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_against_peft() -> None:
    peft = pytest.importorskip("peft")
    ours, theirs = network(), network()
    add_lora(ours, 2, alpha=5.0, targets=["4"])
    wrapped = peft.get_peft_model(theirs, peft.LoraConfig(r=2, lora_alpha=5, target_modules=["4"], lora_dropout=0.0))
    addition = ours[4].parametrizations.weight[0]  # type: ignore[index, union-attr]
    with torch.no_grad():
        addition.B.normal_(generator=torch.Generator().manual_seed(0))
        layer = wrapped.base_model.model[4]
        layer.lora_A["default"].weight.copy_(addition.A)
        layer.lora_B["default"].weight.copy_(addition.B)
    torch.testing.assert_close(ours(ROWS), wrapped(ROWS), rtol=1e-5, atol=1e-5)


def test_query_key_and_value_of_an_attention() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.MultiheadAttention(8, 2, batch_first=True)).eval()
    names, rows = list(net.state_dict()), torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    attention: nn.MultiheadAttention = net[0]  # type: ignore[assignment]
    before = attention(rows, rows, rows)[0]
    assert add_lora(net, 2) == ["0", "0.out_proj"]
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 2 * (8 + 24) + 2 * (8 + 8)
    torch.testing.assert_close(attention(rows, rows, rows)[0], before)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith(".B"):
                value.normal_(generator=torch.Generator().manual_seed(1))
    adapted = attention(rows, rows, rows)[0]
    assert not torch.allclose(adapted, before, atol=1e-2)
    merge_lora(net)
    torch.testing.assert_close(attention(rows, rows, rows)[0], adapted, rtol=1e-5, atol=1e-5)
    assert list(net.state_dict()) == names


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rank": 0}, "rank=0; it must be an integer of at least 1"),
        ({"rank": 1.5}, "rank=1.5"),
        ({"targets": ["qkw"]}, "layer to adapt 'qkw'"),
    ],
)
def test_what_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        add_lora(network(), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no linear layer or plain convolution"):
        add_lora(nn.ReLU())

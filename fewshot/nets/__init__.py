"""Small networks of the field, and a norm that is exact under `torch.func`. A new one is its file and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fewshot.registry import Registry, build, parse_spec

if TYPE_CHECKING:
    from torch import nn

ENTRIES = {
    "conv4": "fewshot.nets.conv4:Conv4",
    "linear": "fewshot.nets.mlp:Flat",
    "mlp": "fewshot.nets.mlp:MLP",
    "resnet12": "fewshot.nets.resnet12:ResNet12",
}
NETS = Registry("net", ENTRIES, "fewshot.nets")


def make_net(spec: str | nn.Module, item_shape: tuple[int, ...]) -> nn.Module:
    """A network that turns items into features ``[B, *item_shape] -> [B, D]``.

    Args:
        spec: ``"conv4(channels=32)"``, or a module of your own.
        item_shape: shape of one item.

    Raises:
        ValueError: an unknown net or argument (the message suggests near ones).

    >>> make_net("conv4", (1, 28, 28)).dim
    64
    """
    if not isinstance(spec, str):
        return spec
    name, arguments = parse_spec(spec)
    net: Any = build(NETS.get(name), name, {**arguments, "item_shape": tuple(item_shape)})
    return net

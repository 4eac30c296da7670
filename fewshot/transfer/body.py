"""`Body`: a copy of an encoder, as a network that can be trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.encoders.encoder import Encoder
from fewshot.encoders.module import ModuleEncoder
from fewshot.transfer.copying import copied
from fewshot.transfer.stages import Stage, stages


class Body(nn.Module):
    """A copy of an encoder whose forward pass has gradients: a batch of its inputs -> features ``[B, D]``.

    Args:
        encoder: is copied with its network, and never changed.
        kind: of the rows, ``"images"`` or ``"texts"``.

    Attributes:
        encoder: the copy.
        network: the part of it that runs on rows of this kind.

    Raises:
        ValueError: the encoder has no network, or none that can be trained on such rows.
    """

    network: nn.Module

    def __init__(self, encoder: Encoder, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if encoder.module is None:
            raise ValueError(
                f"{encoder.name!r} has no network to train; 'linear-probe' trains a head on its features, and is the "
                "only strategy for it."
            )
        self.encoder = copied(encoder)
        self.network = _network(self.encoder, kind)

    def forward(self, batch: Any) -> Tensor:
        """Features ``[B, D]``."""
        encoder = self.encoder
        if self.kind == "texts":
            return encoder.forward_texts(list(batch))
        if isinstance(encoder, ModuleEncoder) and type(encoder).encode_images is ModuleEncoder.encode_images:
            return encoder.forward(batch)
        return encoder.encode_images(batch)

    def __repr__(self) -> str:
        return f"Body({self.encoder.name!r})"


@dataclass(frozen=True)
class Anatomy:
    """The stages of a network that its features depend on, as a trial shows them.

    Attributes:
        parts: the stages, with the parameters that a gradient reaches.
        shapes: of the output of each, for one item; None where it is no tensor.
        problem: why blocks cannot be counted, or empty.
    """

    parts: list[Stage]
    shapes: list[tuple[int, ...] | None]
    problem: str = ""


def examine(body: Body, example: Any) -> Anatomy:
    """Run a batch through a network and back, and see which parameters and stages take part.

    Raises:
        ValueError: no gradient reaches any parameter.
    """
    problem = ""
    try:
        parts = stages(body.network)
    except ValueError as error:
        names = tuple(name for name, _ in body.network.named_parameters())
        parts = [Stage(type(body.network).__name__, ("",), names, 0)]
        problem = str(error)
    shapes: dict[int, tuple[int, ...]] = {}

    def noting(place: int) -> Any:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes[place] = tuple(output.shape[1:])

        note.transient = True  # type: ignore[attr-defined]
        return note

    handles = [
        body.network.get_submodule(path).register_forward_hook(noting(place))
        for place, part in enumerate(parts)
        for path in part.modules
    ]
    modes = {module: module.training for module in body.modules()}
    learned = {parameter: parameter.requires_grad for parameter in body.parameters()}
    body.eval().requires_grad_(True)
    try:
        with torch.enable_grad():
            body(example).square().sum().backward()
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
        for parameter, mode in learned.items():
            parameter.requires_grad_(mode)
    sizes = {name: p.numel() for name, p in body.network.named_parameters() if p.grad is not None}
    body.zero_grad(set_to_none=True)
    if not sizes:
        raise ValueError(f"no gradient reaches the weights of {body.encoder.name!r}; is its forward pass detached?")
    used = []
    for place, part in enumerate(parts):
        names = tuple(name for name in part.parameters if name in sizes)
        if names:
            used.append((Stage(part.name, part.modules, names, sum(sizes[n] for n in names)), shapes.get(place)))
    return Anatomy([part for part, _ in used], [shape for _, shape in used], problem)


def stage_of(parts: Sequence[Stage]) -> dict[str, int]:
    """The number of the stage that each parameter belongs to."""
    return {name: place for place, part in enumerate(parts) for name in part.parameters}


def plain_name(name: str) -> str:
    """The parameter that a part of its parametrisation stands for: ``fc.parametrizations.weight.0.A -> fc.weight``."""
    path, found, rest = name.partition(".parametrizations.")
    if not found:
        return (
            name.removeprefix("parametrizations.").partition(".")[0] if name.startswith("parametrizations.") else name
        )
    return f"{path}.{rest.partition('.')[0]}"


def _network(encoder: Encoder, kind: str) -> nn.Module:
    tower = encoder.tower(kind)
    if tower is None:
        raise ValueError(
            f"{encoder.name!r} has no tower for {kind} that can be trained here (an encoder says so by `tower`); "
            "'linear-probe' trains a head on its features, and is the only strategy for it."
        )
    return tower

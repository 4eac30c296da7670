"""Features after every stage of a network, in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from episodes.source import tower_of
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.inputs import Inputs
from fewshot.transfer.stages import stages

_BATCH = 64


def stage_features(encoder: Encoder, items: Any, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """What comes out of each stage, averaged over places ``{stage: [M, D]}``, from the input to the output.

    Args:
        encoder: whose network is run in evaluation mode.
        items: images, as `episodes.any_source.as_source` makes them.
        device: where it runs.

    Returns:
        Nothing where the network shows no stages, or there is none.
    """
    if encoder.module is None or tower_of(items) != "images":
        return {}
    network: Any = getattr(encoder.module, "visual", encoder.module)
    try:
        parts = stages(network)
    except ValueError:
        return {}
    found: dict[str, list[Tensor]] = {part.name: [] for part in parts}

    def noting(name: str) -> Any:
        def note(module: Any, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim in (2, 3, 4):
                found[name].append(_pooled(output).float().cpu())

        note.transient = True  # type: ignore[attr-defined]
        return note

    encoder.to(device)
    handles = [
        network.get_submodule(part.modules[-1]).register_forward_hook(noting(part.name))
        for part in parts if part.modules[-1]
    ]  # fmt: skip
    inputs = Inputs(items, encoder)
    try:
        with torch.no_grad():
            for rows in torch.arange(len(items)).split(_BATCH):
                encoder.encode_images(inputs.take(rows, torch.device(device)))
    finally:
        for handle in handles:
            handle.remove()
    whole = {name: torch.cat(held) for name, held in found.items() if held}
    return {name: rows for name, rows in whole.items() if len(rows) == len(items)}


def _pooled(output: Tensor) -> Tensor:
    return output.mean((2, 3)) if output.ndim == 4 else output.mean(1) if output.ndim == 3 else output

"""Random numbers of torch's global generators: those of a step, and those of the caller, kept apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def seeded(device: torch.device, *key: int) -> Iterator[None]:
    """Meanwhile torch's global generators, of the CPU and of a device, begin at a key; then they are put back.

    Layers such as dropout draw from them; so what they draw depends on the key alone, and the caller's random numbers
    are not touched.

    Args:
        device: which is used beside the CPU.
        key: integers of at least 0, such as seed and step.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    host = torch.get_rng_state()
    held = _state(device)
    try:
        torch.default_generator.manual_seed(seed)
        if held is not None:
            _generator(device).manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(host)
        if held is not None:
            _generator(device).set_state(held)


def seed_layers(model: nn.Module, *key: int) -> None:
    """Layers with a generator of their own, such as DropBlock, begin at a key, each at another number."""
    layers = (getattr(part, "generator", None) for part in model.modules())
    for number, generator in enumerate(layer for layer in layers if isinstance(layer, torch.Generator)):
        generator.manual_seed(int(np.random.SeedSequence((*key, number)).generate_state(1, np.uint64)[0]))


def _state(device: torch.device) -> torch.Tensor | None:
    return None if device.type == "cpu" else _generator(device).get_state()


def _generator(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        torch.cuda.init()
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]
    if device.type == "mps":
        from torch.mps import _get_default_mps_generator

        return _get_default_mps_generator()
    raise ValueError(f"device={str(device)!r}; training runs on cpu, cuda or mps.")

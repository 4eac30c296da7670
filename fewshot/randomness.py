"""Random numbers of torch's global generators: those of a module or a step, and those of the caller, kept apart."""

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
    generators = [torch.default_generator, *_generators(device)]
    held = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, held, strict=True):
            generator.set_state(state)


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Modules draw their first weights, and dropout its zeros, from the global generator, which is put back."""
    state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(state)


def seed_layers(model: nn.Module, *key: int) -> None:
    """Layers with a generator of their own, such as DropBlock, begin at a key, each at another number."""
    layers = (getattr(part, "generator", None) for part in model.modules())
    for number, generator in enumerate(layer for layer in layers if isinstance(layer, torch.Generator)):
        generator.manual_seed(int(np.random.SeedSequence((*key, number)).generate_state(1, np.uint64)[0]))


def _generators(device: torch.device) -> list[torch.Generator]:
    """The global generator of an accelerator."""
    if device.type == "cpu":
        return []
    module = torch.get_device_module(device)
    if device.type == "mps":
        return [module._get_default_mps_generator()]
    module.init()
    return [module.default_generators[module.current_device() if device.index is None else device.index]]

"""A world of Gaussian classes, and a small network that meta-training can improve."""

from __future__ import annotations

import torch

from episodes import EpisodeSampler, TensorSource

SPEC = "mlp(item_shape=(16,), widths=(24, 12)) | prototypes"


def world(classes: int, seed: int) -> TensorSource:
    """Classes that differ in two of sixteen directions; the others are loud noise that a metric must learn to ignore."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.zeros(classes, 16)
    centres[:, :2] = torch.randn(classes, 2, generator=generator) * 2
    noise = torch.randn(classes, 30, 16, generator=generator) * torch.tensor([0.3] * 2 + [2.0] * 14)
    return TensorSource((centres[:, None] + noise).flatten(0, 1), torch.arange(classes).repeat_interleave(30))


TRAIN, VALIDATE, TEST = world(30, 0), world(10, 1), world(10, 2)


def sampler(source: TensorSource, seed: int = 0) -> EpisodeSampler:
    return EpisodeSampler(source.labels, 5, 2, 6, seed)


def weights(learner: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in learner.state_dict().items()}

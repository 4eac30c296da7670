"""Files of episodes and of arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from episodes import EpisodeSampler, ManifestSampler, load_dataset, save_episodes
from fault_trials.trial import FINE, WRONG, damage, kind, source


@kind("manifest: damaged", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    labels, path = np.repeat(np.arange(4), 6), folder / "episodes.npz"
    sampler = EpisodeSampler(labels, way=3, shot=1, query=2, seed=0)
    save_episodes(sampler, path, labels=labels, episodes=5)
    truth = sampler.draw(0, 5)
    damage(random, path)
    found = ManifestSampler(path, labels).draw(0, 5)
    return FINE if torch.equal(found.rows, truth.rows) and torch.equal(found.targets, truth.targets) else WRONG


@kind("arrays: damaged", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    rows = source()
    np.savez(folder / "bank.npz", X=rows.features.numpy(), y=rows.labels.numpy())
    damage(random, folder / "bank.npz")
    found = load_dataset(f"arrays:{folder / 'bank.npz'}")
    return FINE if torch.equal(found.features, rows.features) and torch.equal(found.labels, rows.labels) else WRONG

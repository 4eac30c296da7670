"""Fixtures of the tests of `episodes`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from picture_examples import save

from episodes import EpisodeSampler, TensorSource


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of four pictures of each of three classes, one of them in a folder of a folder."""
    for name in ("owl", "crow", "sea/gull"):
        for number in range(4):
            save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def source(generator: torch.Generator) -> TensorSource:
    """Eight overlapping Gaussian classes."""
    centres = torch.randn(8, 16, generator=generator)
    rows = centres.repeat_interleave(40, 0) + 1.5 * torch.randn(320, 16, generator=generator)
    return TensorSource(rows, torch.arange(8).repeat_interleave(40), name="gaussians")


@pytest.fixture
def sampler(source: TensorSource) -> EpisodeSampler:
    """5-way 2-shot episodes of it."""
    return EpisodeSampler(source.labels, way=5, shot=2, query=6, seed=3, name=source.name)

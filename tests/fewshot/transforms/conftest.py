"""Fixtures of the tests of transforms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from episodes import Episode


@pytest.fixture
def base(generator: torch.Generator) -> Tensor:
    """Correlated rows of base classes, far from the origin ``[M, D]``."""
    return torch.randn(400, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 5


@pytest.fixture
def episode(generator: torch.Generator) -> Episode:
    """Four episodes with one padding row each, text and unlabelled rows."""
    support = torch.randn(4, 7, 6, generator=generator) + 3
    labels = torch.tensor([[0, 1, 2, -1, 0, 1, 2]]).expand(4, -1)
    query, more = torch.randn(4, 5, 6, generator=generator), torch.randn(4, 3, 6, generator=generator)
    text = torch.randn(4, 3, 6, generator=generator)
    return Episode(support, labels, query, way=3, text=text, unlabelled=more)

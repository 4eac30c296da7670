"""Projection onto a simplex: the nearest point, also far from the values."""

from __future__ import annotations

import torch

from fewshot.maths.simplex import onto_simplex


def test_a_simplex_far_from_the_values() -> None:
    values = torch.tensor([[0.2, 0.5, 0.1], [-torch.inf, 0.5, 0.1]])
    for offset in (0.0, 1e9, -1e9):
        torch.testing.assert_close(onto_simplex(values + offset, 0.1).sum(-1), torch.tensor([0.1, 0.1]))
    huge = torch.tensor([[1e30, 1e30, -1e30]])
    torch.testing.assert_close(onto_simplex(huge, 0.1), torch.tensor([[0.05, 0.05, 0.0]]))


def test_projection_onto_a_simplex() -> None:
    values = torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[0, 2] = -torch.inf
    found = onto_simplex(values, 0.7)
    assert (found >= 0).all() and found[0, 2] == 0
    torch.testing.assert_close(found.sum(-1), torch.full((200,), 0.7, dtype=torch.float64))
    # Of the nearest point, values - found is constant where found > 0 and no larger elsewhere.
    level = (values - found).where(found > 0, -torch.inf).amax(-1, keepdim=True)
    assert ((values - found).where(found > 0, level) - level).abs().max() < 1e-12
    assert (values - found <= level + 1e-12).all()

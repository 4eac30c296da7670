"""Projection onto a simplex, far from the values."""

from __future__ import annotations

import torch

from fewshot.maths.simplex import onto_simplex


def test_a_simplex_far_from_the_values() -> None:
    values = torch.tensor([[0.2, 0.5, 0.1], [-torch.inf, 0.5, 0.1]])
    for offset in (0.0, 1e9, -1e9):
        torch.testing.assert_close(onto_simplex(values + offset, 0.1).sum(-1), torch.tensor([0.1, 0.1]))
    huge = torch.tensor([[1e30, 1e30, -1e30]])
    torch.testing.assert_close(onto_simplex(huge, 0.1), torch.tensor([[0.05, 0.05, 0.0]]))

"""Lengths wherever the precision holds the row; rows sorted by class."""

from __future__ import annotations

import torch
from learner_episodes import make, padded
from torch.nn.functional import normalize as usual

from fewshot.maths.linalg import normalize, rows_of_classes


def test_normalize_is_right_wherever_the_precision_holds_the_row() -> None:
    rows = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(normalize(rows), usual(rows, dim=-1))
    torch.testing.assert_close(normalize(rows, dim=0), usual(rows, dim=0))
    for power in (-120, -60, 60, 120):
        torch.testing.assert_close(normalize(rows * 2.0**power), usual(rows, dim=-1))
    mixed = torch.stack([rows[0], 0 * rows[1], 2.0**-110 * rows[2]])
    found = normalize(mixed.requires_grad_())
    torch.testing.assert_close(found.norm(dim=-1), torch.tensor([1.0, 0.0, 1.0]))
    found.sum().backward()
    assert mixed.grad is not None
    assert mixed.grad[:2].isfinite().all()


def test_rows_are_sorted_by_class() -> None:
    episode, _ = make([2, 3, 0, 1])
    rows, real = rows_of_classes(padded(episode))
    assert real.sum(-1).tolist() == [[2, 3, 0, 1]] * len(episode)
    for e in range(len(episode)):
        for n in range(4):
            torch.testing.assert_close(rows[e, n][real[e, n]], episode.support[e][episode.labels[e] == n])
    assert (rows[~real] == 0).all()

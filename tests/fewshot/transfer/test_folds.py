"""Folds are stratified, disjoint and nested."""

from __future__ import annotations

import torch

from episodes import TensorSource
from fewshot.transfer.folds import Folds


def test_folds_are_stratified_disjoint_and_nested() -> None:
    labels = torch.tensor([0] * 7 + [1] * 12 + [2] * 6)[torch.randperm(25, generator=torch.Generator().manual_seed(2))]
    source = TensorSource(torch.rand(25, 4), labels)
    folds = Folds(source, None, 0)
    assert (folds.count, folds.notes, folds.largest) == (5, [], 10)
    asked = torch.cat([folds.rows(fold, 10)[1] for fold in range(5)])
    assert sorted(asked.tolist()) == list(range(25))
    for fold in range(5):
        small, test = folds.rows(fold, 2)
        whole, same = folds.rows(fold, folds.largest)
        assert torch.equal(test, same)
        assert labels[small].bincount().tolist() == [2, 2, 2]
        assert set(small.tolist()) < set(whole.tolist())
        assert sorted([*whole.tolist(), *test.tolist()]) == list(range(25))
        assert (labels[test].bincount(minlength=3) - torch.tensor([7, 12, 6]) / 5).abs().max() < 1
    other = Folds(source, None, 1).rows(0, 10)[1]
    assert other.tolist() != folds.rows(0, 10)[1].tolist()
    few = Folds(source, 10)
    assert few.count == 6
    assert "there are 6 folds instead of 10" in few.notes[0]

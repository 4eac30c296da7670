"""Classes of unlabelled rows by how they cluster around a few examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fewshot.maths.clusters import likely_classes
from tests.references import clusters as slow


def drawn(spread: float, ways: int = 4, shots: int = 1, rows: int = 90, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Class means of examples, rows around the same centres, and their classes."""
    draw = np.random.default_rng(seed)
    centres, labels = draw.normal(size=(ways, 24)), draw.integers(ways, size=rows)
    means = centres + spread * draw.normal(size=(ways, 24)) / shots**0.5
    seen = centres[labels] + spread * draw.normal(size=(rows, 24))
    return torch.from_numpy(means), torch.from_numpy(seen), torch.from_numpy(labels)


@pytest.mark.parametrize("counts", [[1, 1, 1, 1], [1, 2, 3, 5]])
def test_equals_the_slow_reference(counts: list[int]) -> None:
    means, rows, _ = drawn(1.0, rows=25)
    found = likely_classes(means, torch.tensor(counts), rows)
    expected = slow.likely_classes(means.numpy(), np.array(counts), rows.numpy())
    for fast, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(fast.numpy(), reference, atol=1e-9)


def test_order_place_and_size_do_not_matter() -> None:
    means, rows, _ = drawn(1.0)
    once, ones = torch.ones(4), likely_classes(means, torch.ones(4), rows)
    order, classes = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)), torch.tensor([2, 0, 3, 1])
    for first, second in zip(ones, likely_classes(means[classes], once, rows[order]), strict=True):
        torch.testing.assert_close(first[order][:, classes], second)
    for first, second in zip(ones, likely_classes(7 * means + 3, once, 7 * rows + 3), strict=True):
        torch.testing.assert_close(first, second)


def test_many_rows_and_classes_are_looked_at_in_steps_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    means, rows, _ = drawn(1.0)
    whole = likely_classes(means, torch.ones(4), rows)
    monkeypatch.setattr("fewshot.maths.clusters._NUMBERS", 1)
    for first, second in zip(whole, likely_classes(means, torch.ones(4), rows), strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("ways", [5, 20])
def test_the_more_classes_scatter_the_less_is_said_and_about_as_much_is_right(ways: int) -> None:
    before = [1.1, 1.1]
    for spread in (0.5, 1.0, 1.5, 3.0):
        said, right = np.zeros((2, 12)), np.zeros((2, 12))
        for seed in range(12):
            means, rows, labels = drawn(spread, ways, rows=20 * ways, seed=seed)
            for model, chance in enumerate(likely_classes(means, torch.ones(ways), rows)):
                said[model, seed] = chance.max(1).values.mean()
                right[model, seed] = (chance.argmax(1) == labels).double().mean()
        assert abs(said.mean() - right.mean()) < 0.16
        assert (said.mean(1) < before).all()
        before = said.mean(1).tolist()


@pytest.mark.parametrize("rows", [torch.zeros(12, 24), torch.ones(12, 24)])
def test_rows_that_are_all_alike_tell_nothing_and_break_nothing(rows: Tensor) -> None:
    means, _, _ = drawn(1.0)
    for chance in likely_classes(means, torch.ones(4), rows):
        torch.testing.assert_close(chance.sum(1), torch.ones(12, dtype=torch.float64))


def test_two_classes_of_one_feature() -> None:
    first, second = likely_classes(torch.tensor([[0.0], [4.0]]), torch.ones(2), torch.tensor([[0.1], [3.9]] * 10))
    assert first.argmax(1).tolist() == second.argmax(1).tolist() == [0, 1] * 10

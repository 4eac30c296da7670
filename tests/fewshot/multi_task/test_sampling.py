"""Shares of tasks by formula, and batches that keep to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fewshot.multi_task import load_sampling
from fewshot.multi_task.batches import epoch_batches, task_counts

SIZES = [100, 400, 1500]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("uniform", [1 / 3, 1 / 3, 1 / 3]),
        ("proportional", [0.05, 0.2, 0.75]),
        ("temperature(2)", [size**0.5 for size in SIZES]),
        ("temperature(T=0.5)", [size**2 for size in SIZES]),
        ("temperature(2, limit=400)", [10, 20, 20]),
        ("temperature(1)", SIZES),
    ],
)
def test_shares_equal_the_formula_whatever_the_epoch(spec: str, expected: list[float]) -> None:
    wanted = np.array(expected) / sum(expected)
    for epoch in (0, 3, 9):
        np.testing.assert_allclose(load_sampling(spec).shares(SIZES, epoch, 10), wanted, rtol=1e-12)


def test_annealed_goes_from_size_to_nearly_alike() -> None:
    sampling = load_sampling("annealed")
    for epoch, exponent in ((0, 1.0), (2, 0.6), (4, 0.2)):  # 1 - 0.8 (e - 1) / (E - 1), e = 1, 3, 5 of E = 5
        powers = np.array(SIZES, dtype=float) ** exponent
        np.testing.assert_allclose(sampling.shares(SIZES, epoch, 5), powers / powers.sum(), rtol=1e-12)
    np.testing.assert_allclose(sampling.shares(SIZES, 0, 1), load_sampling("proportional").shares(SIZES, 0, 1))
    assert repr(load_sampling("annealed(0.5)")) == "annealed(drop=0.5)"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("temprature(2)", "did you mean 'temperature'"),
        ("temperature(0)", "must be positive"),
        ("temperature(2, 0)", "at least 1"),
        ("annealed(1.5)", "in 0..1"),
        ("uniform(2)", r"takes \(\)"),
    ],
)
def test_what_is_no_sampling_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_sampling(spec)


def test_counts_are_the_shares_on_average_and_never_off_by_one() -> None:
    shares, sizes = np.array([0.13, 0.37, 0.5]), [16, 17] * 2000
    counts = task_counts(shares, sizes, np.random.default_rng(0).random(len(sizes)))
    assert (counts.sum(1) == sizes).all()
    wanted = np.outer(sizes, shares)
    assert (np.abs(counts - wanted) < 1).all()
    np.testing.assert_allclose(counts.mean(0), wanted.mean(0), atol=0.03)


def test_a_batch_is_a_function_of_seed_and_epoch_and_uses_all_rows_of_a_task_before_any_again() -> None:
    rows = [10, 90]
    batches = epoch_batches(np.array([0.5, 0.5]), rows, 7, seed=3, epoch=2)
    again = epoch_batches(np.array([0.5, 0.5]), rows, 7, seed=3, epoch=2)
    assert all(torch.equal(one, other) for one, other in zip(batches, again, strict=True))
    other = epoch_batches(np.array([0.5, 0.5]), rows, 7, seed=3, epoch=3)
    assert not all(torch.equal(one, two) for one, two in zip(batches, other, strict=True))
    assert [len(batch) for batch in batches] == [15, 15, 14, 14, 14, 14, 14]
    assert all((batch.diff() < 0).sum() >= 0 and ((batch >= 10).int().diff() >= 0).all() for batch in batches)
    whole = torch.cat(batches)
    small, large = whole[whole < 10], whole[whole >= 10]
    assert small.bincount().min() >= len(small) // 10 and small.bincount().max() <= -(-len(small) // 10)
    assert large.unique().numel() == len(large)

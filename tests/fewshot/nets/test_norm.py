"""Norms that are exact in an inner loop."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fewshot.nets.norm import BatchNorm, TaskNorm, statistics_from


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 5, 5)])
def test_batch_norm_equals_torchs(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours, theirs = BatchNorm(4), (nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4))
    for _ in range(3):
        x = torch.randn(shape)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.variance, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=1e-5, rtol=1e-5)


def test_task_norm_is_of_each_episode_and_of_the_rows_that_count() -> None:
    torch.manual_seed(0)
    norm, x = TaskNorm(4), torch.randn(10, 4, 3, 3)
    weights = torch.tensor([[1.0, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    with statistics_from(weights):
        found = norm(x).view(2, 5, 4, 3, 3)
    for e, rows in ((0, x[:3]), (1, x[5:7])):
        mean, variance = rows.mean((0, 2, 3), keepdim=True), rows.var((0, 2, 3), unbiased=False, keepdim=True)
        torch.testing.assert_close(found[e], (x[5 * e : 5 * e + 5] - mean) / (variance + 1e-5).sqrt())

"""Weights of a product of experts: the minimum that is claimed, and what they listen to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from fewshot.maths.experts import weigh_experts


def told(quality: list[float], rows: int = 40, ways: int = 3, size: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits of experts that are as good as said ``[1, S, N, J]``, and one-hot labels."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(ways, (1, rows), generator=random)
    target = torch.nn.functional.one_hot(labels, ways).double()
    noise = torch.randn(1, rows, ways, len(quality), generator=random, dtype=torch.float64)
    return size * (noise + target.unsqueeze(-1) * torch.tensor(quality, dtype=torch.float64)), target


def test_the_weights_minimise_what_they_are_said_to() -> None:
    experts, target = told([0.5, 2.0, 1.0], size=3.0)

    def loss(weights: np.ndarray) -> float:
        logits = experts @ torch.from_numpy(weights)
        own = (logits * target).sum(-1) - logits.logsumexp(-1)
        return float(5 * ((weights - [1.0, 0.5, 2.0]) ** 2).sum() - own.sum())

    expected = minimize(loss, [1.0, 0.5, 2.0], tol=1e-12).x
    found = weigh_experts(experts, target, (1.0, 0.5, 2.0))[0]
    torch.testing.assert_close(found, torch.from_numpy(np.maximum(expected, 0)), atol=1e-5, rtol=1e-5)


def test_the_better_expert_is_believed() -> None:
    weights = weigh_experts(*told([0.0, 3.0], rows=400), (1.0, 1.0))[0]
    assert weights[0] < 0.2 < weights[1]


def test_one_that_is_always_wrong_is_not_asked() -> None:
    weights = weigh_experts(*told([-3.0, 1.0], rows=400), (1.0, 1.0))[0]
    assert weights[0] == 0 < weights[1]


def test_without_examples_the_weights_stay() -> None:
    experts, target = told([0.0, 3.0])
    assert weigh_experts(experts, torch.zeros_like(target), (1.0, 0.5))[0].tolist() == [1.0, 0.5]
    assert weigh_experts(experts[:, :0], target[:, :0], (1.0, 0.5))[0].tolist() == [1.0, 0.5]


def test_classes_that_cannot_be_the_answer_change_nothing() -> None:
    experts, target = told([1.0, 2.0])
    more = torch.cat([experts, torch.full_like(experts[:, :, :1], -torch.inf)], 2)
    padded = torch.nn.functional.pad(target, (0, 1))
    torch.testing.assert_close(weigh_experts(more, padded, (1.0, 1.0)), weigh_experts(experts, target, (1.0, 1.0)))


def test_an_example_that_counts_twice_is_two() -> None:
    experts, target = told([0.5, 2.0])
    times = torch.arange(40) % 3 + 1
    twice = (part.repeat_interleave(times, 1) for part in (experts, target))
    torch.testing.assert_close(
        weigh_experts(experts, target * times.view(1, -1, 1), (1.0, 0.5)), weigh_experts(*twice, (1.0, 0.5))
    )


@pytest.mark.parametrize("quality", [[0.5, 2.0], [-3.0, 1.0]])
def test_gradients_go_through_weights_that_follow(quality: list[float]) -> None:
    experts, target = told(quality, rows=12)

    def weights(experts: Tensor) -> Tensor:
        return weigh_experts(experts, target, (1.0, 0.5), follow=True)

    assert not weigh_experts(experts.requires_grad_(), target, (1.0, 0.5)).requires_grad
    assert torch.autograd.gradcheck(weights, (experts,))

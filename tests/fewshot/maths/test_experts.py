"""Weights of a product of experts: the minimum that is claimed, and what they listen to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from fewshot.maths.experts import likeliest_weights, weigh_experts


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


def loss_of(weights: np.ndarray, experts: Tensor, target: Tensor, before: list[float]) -> float:
    logits = experts @ torch.from_numpy(weights)
    own = (logits * target).sum(-1) - logits.logsumexp(-1) * target.sum(-1)
    return float(5 * ((weights - before) ** 2).sum() - own.sum())


def test_of_answers_alike_none_is_left_too_large() -> None:
    """Two experts say nearly the same, thirty times too loudly, and the third knows better."""
    experts, target = told([1.0, 0.7, 2.5], rows=120)
    alike = 30 * (experts[..., :1] + 0.2 * experts[..., 1:2])
    experts = torch.cat([alike, 30 * experts[..., :1], experts[..., 2:]], -1)
    before = [1.0, 0.5, 0.5]
    found = likeliest_weights(experts, target, torch.tensor([before], dtype=torch.float64))[0].numpy()
    ends = [
        minimize(loss_of, start, (experts, target, before), bounds=[(0, None)] * 3, tol=1e-14)
        for start in (before, [0.01, 0.01, 1.0])
    ]
    assert (found >= 0).all()
    assert loss_of(found, experts, target, before) <= min(end.fun for end in ends) + 1e-6
    clamped = weigh_experts(experts, target, (1.0, 0.5, 0.5))[0].numpy()
    assert loss_of(clamped, experts, target, before) > loss_of(found, experts, target, before) + 1


def test_the_likeliest_weights_are_found_from_far_away() -> None:
    """Rows on which a loud expert is nearly always right, where Newton's steps alone would leap to and fro."""
    experts, target = told([40.0, 1.0, 0.5], rows=300, size=3.0)
    experts[0, :5] = experts[0, :5].flip(1)
    before = [1.0, 0.25, 0.75]
    found = likeliest_weights(experts, target, torch.tensor([before], dtype=torch.float64))[0].numpy()
    end = minimize(loss_of, [0.1] * 3, (experts, target, before), bounds=[(0, None)] * 3, tol=1e-14)
    assert loss_of(found, experts, target, before) <= end.fun + 1e-6


def test_without_examples_the_likeliest_weights_stay() -> None:
    experts, target = told([0.0, 3.0])
    before = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(likeliest_weights(experts, torch.zeros_like(target), before), before)


def test_episodes_are_weighed_alone() -> None:
    experts, target = told([0.5, 2.0, 1.0], size=3.0)
    other = experts.flip(1)
    before = torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.1, 0.9]], dtype=torch.float64)
    both = likeliest_weights(torch.cat([experts, other]), target.expand(2, -1, -1), before)
    alone = [likeliest_weights(part, target, before[e : e + 1]) for e, part in enumerate((experts, other))]
    torch.testing.assert_close(both, torch.cat(alone))


def test_classes_that_cannot_be_change_no_likeliest_weight() -> None:
    experts, target = told([1.0, 2.0])
    more = torch.cat([experts, torch.full_like(experts[:, :, :1], -torch.inf)], 2)
    padded = torch.nn.functional.pad(target, (0, 1), value=1.0)  # a label that cannot be is no label
    before = torch.ones(1, 2, dtype=torch.float64)
    wanted = likeliest_weights(experts, target, before)
    torch.testing.assert_close(likeliest_weights(more, padded, before), wanted)

"""Weightings against steps computed by hand: Kendall's variances, GradNorm's weights, PCGrad's projections."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot.multi_task import load_weighting
from fewshot.multi_task.gradnorm import moved_weights
from fewshot.multi_task.heads import TaskHeads
from fewshot.multi_task.objective import TaskObjective
from fewshot.multi_task.pcgrad import coefficients
from fewshot.multi_task.sampling import load_sampling
from fewshot.multi_task.tasks import JoinedRows
from fewshot.transfer.inputs import Activations
from fewshot.transfer.stages import Stage


def test_uncertainty_equals_the_formula_and_its_gradient_by_hand() -> None:
    weighting = load_weighting("uncertainty")
    weighting.begin(3)
    with torch.no_grad():
        weighting.log_variance.copy_(torch.tensor([0.5, -1.0, 2.0]))
    losses, shares = torch.tensor([2.0, 0.7]), torch.tensor([0.25, 0.75])
    total = weighting.loss(losses, shares, torch.tensor([0, 2]))
    expected = 0.25 * (math.exp(-0.5) * 2.0 + 0.25) + 0.75 * (math.exp(-2.0) * 0.7 + 1.0)
    assert float(total.detach()) == pytest.approx(expected, rel=1e-6)
    total.backward()
    by_hand = [0.25 * (0.5 - 2.0 * math.exp(-0.5)), 0.0, 0.75 * (0.5 - 0.7 * math.exp(-2.0))]
    np.testing.assert_allclose(weighting.log_variance.grad, by_hand, rtol=1e-6)
    np.testing.assert_allclose(weighting.weights(), np.exp([-0.5, 1.0, -2.0]), rtol=1e-6)


def test_gradnorm_moves_weights_as_by_hand() -> None:
    # w n = (2, 6), mean 4, so n / 4 = (0.5, 0.75) and G / 4 = (0.5, 1.5); L / L(0) = (0.5, 1), mean 0.75, r = (2/3, 4/3)
    weight, norms, left = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0]), torch.tensor([0.5, 1.0])
    moved = moved_weights(weight, norms, left, alpha=1.0, lr=0.1)
    np.testing.assert_allclose(moved, [1 + 0.1 * 0.5, 2 - 0.1 * 0.75], rtol=1e-6)  # 0.5 < 2/3 rises, 1.5 > 4/3 falls
    # the gradient of the sum of absolute differences, by automatic differentiation
    asked = weight.clone().requires_grad_()
    wanted = (left / left.mean()) ** 1.5
    ((asked * norms / 4 - wanted).abs().sum()).backward()
    moved = moved_weights(weight, norms, left, alpha=1.5, lr=0.025)
    torch.testing.assert_close(moved, weight - 0.025 * asked.grad)
    torch.testing.assert_close(moved_weights(weight, 100 * norms, left, 1.5, 0.025), moved)  # no scale of losses


def test_gradnorm_keeps_first_losses_and_weights_of_mean_one() -> None:
    weighting = load_weighting("gradnorm(alpha=1.0, lr=0.1)")
    weighting.begin(3)
    given: list[list[Tensor]] = [[torch.tensor([3.0, 4.0])], [torch.tensor([1.0])]]
    present = torch.tensor([0, 2])
    weighting.update(torch.tensor([2.0, 1.0]), present, lambda last: given)
    # norms (5, 1), mean 3; both at their first loss, so r = 1: 5/3 > 1 falls, 1/3 < 1 rises
    moved = np.array([1 - 0.1 * 5 / 3, 1.0, 1 + 0.1 / 3])
    np.testing.assert_allclose(weighting.weights(), 3 * moved / moved.sum(), rtol=1e-6)
    np.testing.assert_allclose(weighting.first, [2.0, 0.0, 1.0])
    weighting.update(torch.tensor([1.0, 1.0]), present, lambda last: given)
    np.testing.assert_allclose(weighting.first, [2.0, 0.0, 1.0])
    before = weighting.weights()
    weighting.update(torch.tensor([1.0, 1.0]), present, lambda last: [])  # a phase that trains heads alone
    assert torch.equal(weighting.weights(), before) and float(before.mean()) == pytest.approx(1)


def projected_by_hand(gradients: np.ndarray, orders: list[np.ndarray]) -> np.ndarray:
    """The algorithm of the paper, vector by vector."""
    total = np.zeros_like(gradients[0])
    for own, order in enumerate(orders):
        vector = gradients[own].copy()
        for other in order:
            if other != own and vector @ gradients[other] < 0:
                vector -= (vector @ gradients[other]) / (gradients[other] @ gradients[other]) * gradients[other]
        total += vector
    return total


def test_pcgrad_of_two_vectors_on_paper() -> None:
    gradients = np.array([[1.0, 0.0], [-1.0, 1.0]])
    # g_1 . g_2 = -1: g_1 + g_2 / 2 = (1/2, 1/2); g_2 + g_1 = (0, 1)
    total = coefficients(gradients @ gradients.T, [np.array([0, 1]), np.array([0, 1])]) @ gradients
    np.testing.assert_allclose(total, [0.5, 1.5], atol=1e-15)
    apart = np.array([[1.0, 0.0], [0.0, 2.0]])
    np.testing.assert_array_equal(coefficients(apart @ apart.T, [np.arange(2)] * 2), [1.0, 1.0])


@pytest.mark.parametrize("seed", range(5))
def test_pcgrad_equals_projections_vector_by_vector(seed: int) -> None:
    random = np.random.default_rng(seed)
    gradients = random.normal(size=(5, 4))  # more tasks than dimensions: many conflicts
    gradients[3] = 0  # a task without a gradient
    orders = [random.permutation(5) for _ in range(5)]
    total = coefficients(gradients @ gradients.T, orders) @ gradients
    np.testing.assert_allclose(total, projected_by_hand(gradients, orders), atol=1e-12)


class Trunk(nn.Module):
    """Two stages in front of the heads, as an objective sees them."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(8)
        self.first = nn.Parameter(torch.randn(3, 4, generator=generator))
        self.second = nn.Parameter(torch.randn(4, 4, generator=generator))
        heads = [nn.Linear(4, classes) for classes in (2, 3, 2)]
        for head in heads:
            nn.init.normal_(head.weight, generator=generator)
            nn.init.zeros_(head.bias)
        self.head = TaskHeads(heads)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(torch.tanh(rows @ self.first) @ self.second)

    def training_now(self) -> dict[str, Tensor]:
        return {"first": self.first, "second": self.second}


def of_three_tasks(weighting: str, device: str = "cpu") -> tuple[Trunk, TaskObjective, list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randn(count, 3, generator=generator) for count in (6, 9, 4)]
    labels = [torch.arange(len(part)) % classes for part, classes in zip(rows, (2, 3, 2), strict=True)]
    how: Any = type("How", (), {"seed": 5, "augment": None, "label_smoothing": 0.0, "views": 0})()
    joined = JoinedRows([Activations(part, (3,)) for part in rows], [len(part) for part in rows])
    parts = [Stage("first", ("",), ("first",), 12), Stage("second", ("",), ("second",), 16)]
    objective = TaskObjective(
        how, joined, labels, load_sampling("uniform"), load_weighting(weighting), 3, parts, torch.device(device)
    )
    return Trunk(), objective, rows, labels


CHOSEN = torch.tensor([0, 3, 4, 6, 7, 12, 15, 17])  # three rows, three, and two


def losses_of(trunk: Trunk, rows: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
    chosen = [[0, 3, 4], [0, 1, 6], [0, 2]]
    return [
        F.cross_entropy(trunk.head.logits(task, trunk(part[index])), answers[index])
        for task, (part, answers, index) in enumerate(zip(rows, labels, chosen, strict=True))
    ]


def test_the_loss_of_a_step_is_the_mean_over_rows_and_accuracy_is_by_each_rows_own_head() -> None:
    trunk, objective, rows, labels = of_three_tasks("equal")
    loss, accuracy = objective(trunk, CHOSEN, 0)  # type: ignore[arg-type]
    apart = losses_of(trunk, rows, labels)
    torch.testing.assert_close(loss, (3 * apart[0] + 3 * apart[1] + 2 * apart[2]) / 8)
    right = [
        int(trunk.head.logits(task, trunk(rows[task][row : row + 1])).argmax()) == int(labels[task][row])
        for task, row in ((0, 0), (0, 3), (0, 4), (1, 0), (1, 1), (1, 6), (2, 0), (2, 2))
    ]
    assert float(accuracy) == pytest.approx(sum(right) / 8)


def test_a_step_of_pcgrad_projects_the_networks_gradients_and_leaves_those_of_the_heads() -> None:
    trunk, objective, rows, labels = of_three_tasks("pcgrad")
    shared = [trunk.first, trunk.second]
    shares = [3 / 8, 3 / 8, 2 / 8]
    single = []
    for loss, share in zip(losses_of(trunk, rows, labels), shares, strict=True):
        found = torch.autograd.grad(share * loss, shared)
        single.append(torch.cat([part.flatten() for part in found]).double().numpy())
    gradients = np.stack(single)
    assert ((gradients @ gradients.T) < 0).any()  # else nothing would be projected
    random = np.random.Generator(np.random.Philox(key=[5, 11]))
    expected = projected_by_hand(gradients, [random.permutation(3) for _ in range(3)])
    loss, _ = objective(trunk, CHOSEN, 11)  # type: ignore[arg-type]
    loss.backward()
    given = torch.cat([part.grad.flatten() for part in shared])  # type: ignore[union-attr]
    np.testing.assert_allclose(given.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(expected, gradients.sum(0), atol=1e-4)
    plain = torch.stack([share * one for share, one in zip(shares, losses_of(trunk, rows, labels), strict=True)]).sum()
    torch.testing.assert_close(loss, plain)  # the value of the loss is not changed
    for task in range(3):
        weight = trunk.head.heads[task].weight
        (own,) = torch.autograd.grad(losses_of(trunk, rows, labels)[task], [weight])
        torch.testing.assert_close(weight.grad, shares[task] * own)


def test_a_step_of_gradnorm_takes_gradients_of_the_last_stage_and_its_weights_from_the_next_step_on() -> None:
    trunk, objective, rows, labels = of_three_tasks("gradnorm(alpha=1.0, lr=0.05)")
    apart = losses_of(trunk, rows, labels)
    norms = torch.stack([torch.autograd.grad(one, [trunk.second], retain_graph=True)[0].norm() for one in apart])
    loss, _ = objective(trunk, CHOSEN, 0)  # type: ignore[arg-type]
    torch.testing.assert_close(loss, (3 * apart[0] + 3 * apart[1] + 2 * apart[2]) / 8)  # weights of 1
    moved = 1 - 0.05 * torch.sign(norms / norms.mean() - 1) * norms / norms.mean()
    weight = objective.weighting.weights()
    torch.testing.assert_close(weight, 3 * moved / moved.sum())
    second, _ = objective(trunk, CHOSEN, 1)  # type: ignore[arg-type]
    torch.testing.assert_close(
        second, (3 * weight[0] * apart[0] + 3 * weight[1] * apart[1] + 2 * weight[2] * apart[2]) / 8
    )
    loss.backward()  # the weights that this step was made with are those of its graph
    assert trunk.first.grad is not None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pcgard", "did you mean 'pcgrad'"),
        ("gradnorm(alpha=-1)", "must not be negative"),
        ("gradnorm(beta=1)", "no argument"),
    ],
)
def test_what_is_no_weighting_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_weighting(spec)

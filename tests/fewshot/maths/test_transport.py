"""Transport plans: their marginals, and each alone as in a batch."""

from __future__ import annotations

import pytest
import torch

from fewshot.maths.transport import transport


def test_transport_plans_have_their_marginals() -> None:
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(5, 12, 3, generator=generator)
    cost[0, :, 1] = torch.inf
    columns = torch.tensor([[6.0, 0, 6], [4, 4, 4], [1, 1, 10], [2, 9, 1], [4, 4, 4]])
    plan, _ = transport(cost.mT, columns, 10.0, 1e-9)
    plan = plan.mT
    torch.testing.assert_close(plan.sum(-1), torch.ones(5, 12, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(1), columns.double(), atol=1e-7, rtol=0)
    alone = torch.cat([transport(cost[e : e + 1].mT, columns[e : e + 1], 10.0, 1e-9)[0].mT for e in range(5)])
    assert torch.equal(plan, alone)


def test_sharp_plans_of_many_steps_have_their_marginals_too() -> None:
    generator = torch.Generator().manual_seed(0)
    cost = 50 * torch.rand(8, 5, 75, generator=generator, dtype=torch.float64)  # scalings move by hundreds
    cost[:, 0] += 20  # which a scaling of 200 makes up for
    columns = torch.full((8, 5), 15.0, dtype=torch.float64)
    plan, scaling = transport(cost, columns, 10.0, 1e-6)
    assert (scaling.amax(1) - scaling.amin(1)).max() > 100
    torch.testing.assert_close(plan.sum(1), torch.ones(8, 75, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(-1), columns, atol=2e-5, rtol=0)
    torch.testing.assert_close(plan, (scaling.unsqueeze(-1) - 10 * cost).softmax(1))
    for e in range(8):
        assert torch.equal(transport(cost[e : e + 1], columns[e : e + 1], 10.0, 1e-6)[0][0], plan[e])
    begun, _ = transport(cost, columns, 10.0, 1e-6, start=scaling + 0.1 * torch.rand(8, 5, generator=generator))
    torch.testing.assert_close(begun, plan, atol=1e-4, rtol=0)


def test_what_all_classes_of_a_query_share_changes_no_plan() -> None:
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(3, 4, 20, generator=generator, dtype=torch.float64)
    columns = torch.full((3, 4), 5.0, dtype=torch.float64)
    moved = transport(cost + 30 * torch.rand(3, 1, 20, generator=generator), columns, 10.0, 1e-9)[0]
    torch.testing.assert_close(moved, transport(cost, columns, 10.0, 1e-9)[0])


@pytest.mark.parametrize("tightness", [0.01, 0.5, 1.0, 30.0])
def test_sums_that_may_differ_pay_their_price(tightness: float) -> None:
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(6, 4, 20, generator=generator, dtype=torch.float64)
    cost[0, 1] = torch.inf
    cost[1, :, :15] += torch.tensor([0.0, 9, 9, 9]).unsqueeze(1)  # of which class most are is clear
    columns = torch.full((6, 4), 5.0, dtype=torch.float64)
    columns[0] = torch.tensor([10.0, 0, 6, 4])
    plan, scaling = transport(cost, columns, 10.0, 1e-10, tightness=tightness)
    torch.testing.assert_close(plan, (scaling.unsqueeze(-1) - 10 * cost).softmax(1))
    torch.testing.assert_close(plan.sum(-1), columns * (-scaling / tightness).exp(), rtol=0, atol=1e-8)
    for e in range(6):
        alone = transport(cost[e : e + 1], columns[e : e + 1], 10.0, 1e-10, tightness=tightness)[0][0]
        assert torch.equal(alone, plan[e])
    begun, _ = transport(cost, columns, 10.0, 1e-10, start=torch.randn(6, 4, generator=generator), tightness=tightness)
    torch.testing.assert_close(begun, plan, rtol=0, atol=1e-8)

    cost, columns, plan = cost[1:], columns[1:], plan[1:]

    def price(plan: torch.Tensor) -> torch.Tensor:
        sums = plan.sum(-1)
        dearer = torch.xlogy(sums, sums / columns).sum(1)
        return (10 * cost * plan + torch.xlogy(plan, plan)).sum((1, 2)) + tightness * dearer

    for _ in range(5):  # no plan near by is cheaper
        other = plan * torch.exp(0.1 * torch.randn(plan.shape, generator=generator, dtype=torch.float64))
        assert (price(other / other.sum(1, keepdim=True)) > price(plan)).all()


def test_sums_go_from_free_to_held_with_tightness() -> None:
    cost = torch.rand(3, 4, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns = torch.full((3, 4), 5.0, dtype=torch.float64)
    free, held = (-10 * cost).softmax(1), transport(cost, columns, 10.0, 1e-10)[0]
    torch.testing.assert_close(transport(cost, columns, 10.0, 1e-10, tightness=1e-6)[0], free, rtol=0, atol=1e-4)
    torch.testing.assert_close(transport(cost, columns, 10.0, 1e-10, tightness=1e6)[0], held, rtol=0, atol=1e-4)

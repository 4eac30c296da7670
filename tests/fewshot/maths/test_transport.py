"""Transport plans: their marginals, and each alone as in a batch."""

from __future__ import annotations

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

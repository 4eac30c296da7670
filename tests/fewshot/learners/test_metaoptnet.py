"""MetaOptNet: the derivative of the solution."""

from __future__ import annotations

import pytest
import torch
from learner_episodes import make, padded

from episodes import Episode
from fewshot import load_learner


@pytest.mark.parametrize(
    ("shots", "dim", "C"), [([3, 3, 3], 12, 0.1), ([2, 0, 3], 12, 1.0), ([9, 8, 9], 2, 0.1)], ids=str
)
def test_svms_derivative_is_that_of_its_solution(shots: list[int], dim: int, C: float) -> None:
    episode = padded(make(shots, dim=dim, episodes=2)[0])
    classes = [n for n, count in enumerate(shots) if count]
    learner = load_learner(f"metaoptnet(C={C}, scale=1.0)").double()

    def logits(support: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return learner(episode.replace(support=support, query=query))[..., classes]

    rows = episode.support.clone().requires_grad_(), episode.query.clone().requires_grad_()
    assert torch.autograd.gradcheck(logits, rows, eps=1e-6, atol=1e-5, rtol=1e-3, fast_mode=True)
    plain = load_learner(f"svm(C={C}, gap=1e-10, means=0.0)")
    torch.testing.assert_close(learner(episode).detach(), plain(episode))


def test_svm_with_equal_rows_has_a_finite_derivative() -> None:
    episode = Episode(torch.ones(1, 4, 3, requires_grad=True), torch.tensor([[0, 1, 0, 1]]), torch.ones(1, 2, 3), 2)
    (gradient,) = torch.autograd.grad(load_learner("metaoptnet")(episode)[..., 0].sum(), episode.support)
    assert bool(gradient.isfinite().all())

"""Multinomial logistic regression, solved to its optimum for all episodes at once."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from episodes.episode import Episode
from fewshot.learner import Learner
from fewshot.linalg import product
from fewshot.newton import SoftmaxProblem, softmax_regression


class LogisticState(NamedTuple):
    """One linear decision function per class."""

    weight: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]


class Logistic(Learner):
    """Fits L2-regularised multinomial logistic regression to the support, to convergence.

    Minimises ``½ |W|² + C Σ_s cross_entropy(W x_s + b, y_s)`` over W and b; then ``logits = W q + b``. The
    optimum is that of scikit-learn's ``LogisticRegression(C=C)``. With two classes that is the binary model
    with a single weight vector, which equals the multinomial one at C / 2.

    The problem is solved in the span of the support (S rather than D dimensions), in float64, by Newton's
    method. First derivatives reach the support by the implicit function theorem; second ones are refused.

    Args:
        C: inverse strength of the regularisation, as in scikit-learn.

    Raises:
        ValueError: C is not positive and finite.

    Reference: Tian, Wang, Krishnan, Tenenbaum, Isola, "Rethinking few-shot image classification: a good
    embedding is all you need?", ECCV 2020, arXiv:2003.11539.

    >>> episode = Episode(torch.eye(2)[None], torch.tensor([[0, 1]]), torch.tensor([[[1.0, 0.0]]]), way=2)
    >>> Logistic(C=10.0)(episode).softmax(-1)
    tensor([[[0.8366, 0.1634]]])
    """

    name: ClassVar[str] = "logistic"

    def __init__(self, C: float = 1.0) -> None:
        super().__init__()
        if not 0 < C < float("inf"):
            raise ValueError(f"C={C!r}; it must be positive and finite (smaller regularises more).")
        self.C = C

    def adapt(self, episode: Episode) -> LogisticState:
        """Solve for the weights of each episode."""
        support = episode.support
        # float32 would lose half of its seven digits in the Gram matrix, and the optimum with them.
        exact = torch.float32 if support.device.type == "mps" else torch.float64
        target = episode.one_hot.mT.to(exact).contiguous()  # [E, N, S]
        present = target.sum(-1, keepdim=True) > 0  # [E, N, 1]
        classes = present.sum(1, keepdim=True)  # [E, 1, 1]
        strength = torch.where(classes == 2, self.C / 2, self.C).to(exact)  # [E, 1, 1]
        weights = target.sum(1, keepdim=True) / target.sum((1, 2), keepdim=True).clamp(min=1)  # [E, 1, S]
        mean = product(weights.to(support.dtype), support).to(exact)  # [E, 1, D]
        rows = support.to(exact, copy=True).sub_(mean)  # [E, S, D], in place: fresh memory is what costs

        weight, bias = softmax_regression(rows.detach(), target, strength)  # [E, N, D], [E, N, 1]
        if rows.requires_grad:
            weight, bias = _differentiable(weight, bias, rows, target, strength)
        # Adding a constant to every b changes no probability: let those of the present classes sum to zero.
        bias = bias - (bias * present).sum(1, keepdim=True) / classes.clamp(min=1)
        bias = (bias - weight @ mean.mT).masked_fill(~present, -torch.inf)  # [E, N, 1]
        return LogisticState(weight.to(support.dtype), bias.squeeze(-1).to(support.dtype))

    def predict(self, state: LogisticState, query: Tensor) -> Tensor:
        """Decision values of the queries."""
        return product(query, state.weight.mT) + state.bias.unsqueeze(1)  # [E, Q, N]


def _differentiable(
    weight: Tensor, bias: Tensor, rows: Tensor, target: Tensor, strength: Tensor
) -> tuple[Tensor, Tensor]:
    """The same optimum as a function of the rows."""
    problem = SoftmaxProblem(rows * target.sum(1, keepdim=True).mT, target, strength)
    optimum = torch.cat([weight, bias], dim=-1)  # [E, N, D + 1]
    p, _, _ = problem.loss(optimum)
    optimum = optimum + _ImplicitStep.apply(problem.gradient(optimum, p), problem, p.detach())
    return optimum[..., :-1], optimum[..., -1:]


class _ImplicitStep(torch.autograd.Function):
    """Zero, with the derivative of the optimum: ``gradient = 0`` defines it, so ``d = -H⁻¹ d gradient``."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, problem: SoftmaxProblem, p: Tensor) -> Tensor:
        ctx.problem, ctx.p = problem, p
        return torch.zeros_like(gradient)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return -ctx.problem.inverse_hessian(ctx.p, gradient, share=1e-9), None, None

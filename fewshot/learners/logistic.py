"""Multinomial logistic regression, solved to its optimum for all episodes at once."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.held_out import folds_by_value, without_rows
from fewshot.maths.linalg import product
from fewshot.maths.newton import SoftmaxProblem, softmax_regression
from fewshot.maths.outliers import distance_to_means
from fewshot.maths.spread import AUTO, spread_of_support

_AUTO = 3.0  # chosen by benchmarks/defaults.py
_COARSE = 0.03  # of decision values whose likelihood is compared
_MOST_NUMBERS = 2**25  # probabilities of rows by classes: 1,000 classes of 33 rows, some 2 GB in all
_SCORED = 2000  # rows that are scored in cross-validation suffice
_GRID = [10.0**power for power in range(-3, 4)]


class LogisticState(NamedTuple):
    """One linear decision function per class, of rows relative to an offset."""

    weight: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]
    offset: Tensor  # [E, 1, D] or [E, 1, 1]


class Logistic(Learner):
    """Fits L2-regularised multinomial logistic regression to the support, to convergence.

    Minimises ``½ |W|² + C Σ_s cross_entropy(W x_s + b, y_s)`` over W and b; then ``logits = W q + b``. The
    optimum is that of scikit-learn's ``LogisticRegression(C=C)``. With two classes that is the binary model
    with a single weight vector, which equals the multinomial one at C / 2.

    The problem is solved in the span of the support (S rather than D dimensions), in float64, by Newton's
    method. First derivatives reach the support by the implicit function theorem; second ones are refused.

    Args:
        C: inverse strength of the regularisation, as in scikit-learn; ``"auto"``: 3 divided by the mean square distance
            of the support from its mean, so that the size of the features does not matter; ``"cv"``: that of 0.001,
            0.01, ..., 1000 with the highest likelihood in cross-validation on the support of each episode, classes
            spread evenly over the folds (of more than 400 rows, not all folds are scored). With one shot per class
            nothing can be held out, and C is as for "auto".
        folds: of the cross-validation; an episode with fewer shots has as many as those.

    Raises:
        ValueError: C is neither "auto", "cv" nor positive and finite, or folds is below 2; in `adapt`, rows times
            classes are above 33 million.

    Reference: Tian, Wang, Krishnan, Tenenbaum, Isola, "Rethinking few-shot image classification: a good
    embedding is all you need?", ECCV 2020, arXiv:2003.11539.

    Example:
        >>> from episodes import Episode
        >>> episode = Episode(torch.eye(2)[None], torch.tensor([[0, 1]]), torch.tensor([[[1.0, 0.0]]]), way=2)
        >>> Logistic(C=10.0)(episode).softmax(-1)
        tensor([[[0.8366, 0.1634]]])
    """

    name: ClassVar[str] = "logistic"
    invariant = ("offset",)

    def __init__(self, C: float | str = AUTO, folds: int = 5) -> None:
        super().__init__()
        if C not in (AUTO, "cv") and (isinstance(C, str) or not 0 < C < float("inf")):
            raise ValueError(f"C={C!r}; it must be positive and finite (smaller regularises more), 'auto' or 'cv'.")
        if folds < 2:
            raise ValueError(f"folds={folds}; there must be at least 2.")
        self.C = C
        self.folds = folds
        self.weighted = C != "cv"  # a row of weight 2 would be one row to the folds

    def adapt(self, episode: Support) -> LogisticState:
        """Solve for the weights of each episode."""
        rows, ways = episode.labels.shape[1], episode.way
        if rows * ways > _MOST_NUMBERS:
            raise ValueError(
                f"{self!r} on {ways:,} classes and {rows:,} rows would hold {8e-9 * rows * ways:.1f} GB several times "
                "over, and take hours; take 'l2 | ridge', 'l2 | lda' or 'prototypes', which have closed forms, or "
                "fewer classes at a time."
            )
        if self.C == "cv":
            return self._fit(episode, self._cross_validated(episode))
        if isinstance(self.C, str):
            return self._fit(episode, self._relative(episode))
        return self._fit(episode, torch.full((len(episode),), self.C, device=episode.support.device))

    def adapt_without(self, state: LogisticState, support: Support, left: Tensor) -> LogisticState:
        """Begin at the optimum of all rows, from which a few steps lead to that of the others."""
        if self.C == "cv":
            return super().adapt_without(state, support, left)
        copies = without_rows(support, left)
        inverse = self._relative(copies) if isinstance(self.C, str) else torch.full((len(left),), self.C)
        start = LogisticState(*(part.expand(len(left), *part.shape[1:]) for part in state))
        return self._fit(copies, inverse.to(support.support.device), start=start)

    def _relative(self, episode: Support) -> Tensor:
        """The C that suits the size of each episode's rows ``[E]``."""
        return _AUTO / spread_of_support(episode).root.square().flatten()

    def _fit(
        self, episode: Support, inverse: Tensor, *, tentative: bool = False, start: LogisticState | None = None
    ) -> LogisticState:
        """The optimum for the C of each episode ``[E]``; a tentative one, which only helps to choose, less exactly.

        `start` is that of the same episodes for another C, from which fewer steps are left.
        """
        episode, _, _, offset = relative_to_centre(episode)
        support = episode.support
        # float32 would lose half of its seven digits in the Gram matrix, and the optimum with them.
        # More rows than features need no Gram matrix, and a choice no more than three digits.
        single = tentative and support.dtype == torch.float32 and support.shape[1] > support.shape[2]
        exact = torch.float32 if single or support.device.type == "mps" else torch.float64
        target = episode.one_hot.mT.to(exact).contiguous()  # [E, N, S]
        present = target.sum(-1, keepdim=True) > 0  # [E, N, 1]
        classes = present.sum(1, keepdim=True)  # [E, 1, 1]
        inverse = inverse.to(exact).view(-1, 1, 1)
        strength = torch.where(classes == 2, inverse / 2, inverse)  # [E, 1, 1]
        counts = target.sum(1, keepdim=True)  # [E, 1, S]
        if episode.weights is not None:
            counts = counts * episode.weights.unsqueeze(1).to(exact)
            strength = strength * counts  # [E, 1, S]
        total = counts.sum(-1, keepdim=True)
        weights = counts / torch.where(total > 0, total, 1)  # [E, 1, S]
        mean = product(weights.to(support.dtype), support).to(exact)  # [E, 1, D]
        rows = support.to(exact, copy=True).sub_(mean)  # [E, S, D], in place: fresh memory is what costs

        tolerance = _COARSE if tentative else 1e-5  # of decision values
        begin = None
        if start is not None:
            before = start.weight.to(exact)
            begin = before, torch.where(present, start.bias.unsqueeze(-1).to(exact) + before @ mean.mT, 0)
        weight, bias = softmax_regression(
            rows.detach(), target, strength.detach(), tolerance, tentative=tentative, start=begin
        )  # [E, N, D], [E, N, 1]
        if rows.requires_grad:
            weight, bias = _differentiable(weight, bias, rows, target, strength)
        # Adding a constant to every b changes no probability: let those of the present classes sum to zero.
        bias = bias - (bias * present).sum(1, keepdim=True) / classes.clamp(min=1)
        bias = (bias - weight @ mean.mT).masked_fill(~present, -torch.inf)  # [E, N, 1]
        return LogisticState(weight.to(support.dtype), bias.squeeze(-1).to(support.dtype), offset)

    @torch.no_grad()
    def _cross_validated(self, episode: Support) -> Tensor:
        """The C of each episode ``[E]``."""
        fold = folds_by_value(episode, self.folds)  # [E, S]
        episode = episode.replace(support=episode.support.detach())
        usable = episode.one_hot.any(-1)
        scored = (_SCORED // usable.sum(1).clamp(min=1)).clamp(1, self.folds)  # [E]
        scores = []
        found: dict[int, LogisticState] = {}  # of each fold, for the C before
        for C in _GRID:
            total = episode.support.new_zeros(len(episode))
            for number in range(self.folds):
                held_out = (fold == number) & usable & (number < scored).unsqueeze(1)  # [E, S]
                if not held_out.any():
                    continue
                learned = episode.replace(labels=episode.labels.masked_fill(held_out, -1))
                strength = torch.full((len(episode),), C, device=total.device)
                state = self._fit(learned, strength, tentative=True, start=found.get(number))
                found[number] = state
                likelihood = self.predict(state, episode.support).log_softmax(-1)  # [E, S, N]
                likelihood = likelihood.gather(-1, episode.labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
                # A class whose only row is held out cannot be predicted, whatever C is.
                seen = (learned.shots > 0).gather(1, episode.labels.clamp(min=0))
                total += torch.where(held_out & seen, likelihood, 0).sum(-1)
            scores.append(total)
            # From the best C on the likelihood falls, and the fits take the longest.
            if len(scores) > 2 and bool((total < torch.stack(scores[:-1]).amax(0)).all()):
                break
        best = torch.stack(scores).argmax(0)  # of equals the smallest C
        chosen = torch.tensor(_GRID, device=best.device)[best]
        return torch.where(episode.shots.amax(-1) > 1, chosen, self._relative(episode).to(chosen))

    def predict(self, state: LogisticState, query: Tensor) -> Tensor:
        """Decision values of the queries."""
        return product(shifted(query, state.offset), state.weight.mT) + state.bias.unsqueeze(1)  # [E, Q, N]

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest class mean."""
        return distance_to_means(episode)


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

"""Ridge regression on one-hot labels, in closed form."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.held_out import differs_enough, remaining, without_rows
from fewshot.maths.linalg import class_sums, crowded, product, squared_lengths
from fewshot.maths.outliers import distance_to_means
from fewshot.maths.spread import AUTO, check_auto

_AUTO = 1.0  # chosen by benchmarks/defaults.py


class RidgeState(NamedTuple):
    """One linear decision function per class, of rows relative to an offset."""

    weight: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]
    offset: Tensor  # [E, 1, D] or [E, 1, 1]


class Ridge(Learner):
    """Fits least squares with an L2 penalty from the support to its one-hot labels.

    Minimises ``Σ_s |W x_s + b - y_s|² + alpha |W|²`` with y in {0, 1}; ``logits = scale (W q + b)``. That is
    scikit-learn's ``Ridge`` on one-hot targets. Its ``RidgeClassifier`` has targets -1 and 1, so its decision
    values are ``2 logits - 1`` (scale 1) and its predictions the same.

    The solution is ``W = Yᵀ (X Xᵀ + alpha I)⁻¹ X``, of S equations, where there are no more rows than
    features, else ``W = Yᵀ X (Xᵀ X + alpha I)⁻¹``, of D (X and Y centred where there is an intercept).

    Args:
        alpha: strength of the penalty; ``"auto"``: the mean square distance of the support from its mean, times the
            mean number of shots, so that neither the size of the features nor that of the support matters (without
            intercept: from zero). On features of length one, the paper's and most others' numbers are 0.1 to 1.
        scale: factor on the logits; it changes probabilities, not predictions. Regression on one-hot labels
            answers in 0..1, so with 1 the probabilities are rather flat.
        fit_intercept: fit b, which is not penalised; without it b = 0, as in R2-D2.

    Raises:
        ValueError: alpha is neither "auto" nor positive and finite.

    Reference: Bertinetto, Henriques, Torr, Vedaldi, "Meta-learning with differentiable closed-form solvers",
    ICLR 2019, arXiv:1805.08136.

    Example:
        >>> episode = Episode(torch.eye(2)[None], torch.tensor([[0, 1]]), torch.tensor([[[1.0, 0.0]]]), way=2)
        >>> Ridge(alpha=1.0)(episode)
        tensor([[[0.7500, 0.2500]]])
    """

    name: ClassVar[str] = "ridge"
    weighted = True

    def __init__(self, alpha: float | str = AUTO, scale: float = 1.0, fit_intercept: bool = True) -> None:
        super().__init__()
        check_auto("alpha", alpha)
        self.alpha = alpha
        self.scale = scale
        self.fit_intercept = fit_intercept
        self.invariant = ("offset",) if fit_intercept else ()

    def adapt(self, episode: Support) -> RidgeState:
        """Solve for the weights of each episode."""
        episode, offset = self._relative(episode)
        support = episode.support
        # The Gram matrix squares the condition: float32 could make it indefinite where alpha is small.
        exact = torch.float32 if support.device.type == "mps" else torch.float64
        absent = episode.shots == 0  # [E, N]
        mask = (episode.labels >= 0).unsqueeze(1).to(exact)  # [E, 1, S]
        if episode.weights is not None:
            mask = mask * episode.weights.unsqueeze(1).to(exact)  # how often each row is there
        rows = support.to(exact, copy=True)  # [E, S, D]
        if self.fit_intercept:
            total = mask.sum(-1, keepdim=True)
            weights = mask / torch.where(total > 0, total, 1)
            mean = product(weights, rows)  # [E, 1, D]
            bias = class_sums(episode, torch.ones_like(mask.mT)) / torch.where(total > 0, total, 1)  # [E, N, 1]
            rows.sub_(mean)  # in place: fresh memory is what costs
        root = mask.sqrt()  # least squares of rows that are there so often
        if rows.shape[1] <= rows.shape[2]:
            target = episode.one_hot.mT.to(exact)  # [E, N, S]
            target = (target - bias if self.fit_intercept else target) * root
            gram = product(rows, rows.mT) * root * root.mT  # [E, S, S]
            weight = product(_solve(gram, target, self._penalty(gram, mask, absent)) * root, rows)  # [E, N, D]
        else:
            # Centred rows sum to zero, so that targets need no centring.
            right = (
                class_sums(episode, rows) if crowded(episode) else product(episode.one_hot.mT.to(exact) * mask, rows)
            )
            rows = rows * root.mT
            gram = product(rows.mT, rows)  # [E, D, D]
            weight = _solve(gram, right, self._penalty(gram, mask, absent))
        bias = (bias - product(weight, mean.mT)).squeeze(-1) if self.fit_intercept else weight.new_zeros(())
        return self._state(weight, bias, absent, offset, support.dtype)

    def adapt_without(self, state: RidgeState, support: Support, left: Tensor) -> RidgeState:
        """Solve anew, with inner products of which those of the rows that are left out are taken away.

        Mean, intercept and penalty are those of the rows that remain, so it is exact where the leverages of the hat
        matrix, for one penalty and one mean, would not be.
        """
        if not self.fit_intercept:
            return super().adapt_without(state, support, left)
        exact = torch.float32 if support.support.device.type == "mps" else torch.float64
        copies = without_rows(support, left)
        share = (support.labels >= 0).to(exact)  # [1, S]
        share = share if support.weights is None else share * support.weights.to(exact)
        rows = shifted(support.support, state.offset).to(exact)  # [1, S, D]
        mean = product(share.unsqueeze(1) / share.sum(), rows)  # [1, 1, D]
        rows = rows - mean
        rest = remaining(rows, share, support.labels, support.way, left, together=True)
        before = (share * squared_lengths(rows)).sum(1)
        if not differs_enough(before - squared_lengths(rest.fallen).sum(1), before):
            return super().adapt_without(state, support, left)
        mask, mean, absent = rest.share.unsqueeze(1), mean + rest.shift, copies.shots == 0  # [F, 1, S], [F, 1, D]
        counts = class_sums(copies, torch.ones_like(rest.share).unsqueeze(-1))  # [F, N, 1]
        bias = counts / mask.sum(-1, keepdim=True)
        if rows.shape[1] <= rows.shape[2]:
            root = mask.sqrt()
            cross = product(rows, rest.shift.mT)  # [F, S, 1]
            gram = product(rows, rows.mT) - cross - cross.mT + rest.shift.square().sum(-1, keepdim=True)
            gram = gram * root * root.mT  # [F, S, S]
            target = (copies.one_hot.mT.to(exact) - bias) * root  # [F, N, S]
            shares = _solve(gram, target, self._penalty(gram, mask, absent)) * root
            weight = product(shares, rows.expand(len(left), -1, -1)) - shares.sum(-1, keepdim=True) * rest.shift
        else:
            scaled = rows if support.weights is None else rows * share.sqrt().unsqueeze(-1)
            gram = rest.scatter(product(scaled.mT, scaled))  # [F, D, D]
            right = class_sums(support, rows) - rest.lost - counts * rest.shift  # [F, N, D]
            weight = _solve(gram, right, self._penalty(gram, mask, absent))
        bias = (bias - product(weight, mean.mT)).squeeze(-1)
        offset = state.offset.expand(len(left), -1, -1)
        return self._state(weight, bias, absent, offset, support.support.dtype)

    def predict(self, state: RidgeState, query: Tensor) -> Tensor:
        """Regression of the queries onto the one-hot labels."""
        return product(shifted(query, state.offset), state.weight.mT) + state.bias.unsqueeze(1)  # [E, Q, N]

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest class mean."""
        return distance_to_means(episode)

    def _relative(self, episode: Support) -> tuple[Support, Tensor]:
        """The episode relative to an offset, and that."""
        if self.fit_intercept:
            episode, _, _, offset = relative_to_centre(episode)
            return episode, offset
        return episode, episode.support.new_zeros(len(episode), 1, 1)

    def _state(self, weight: Tensor, bias: Tensor, absent: Tensor, offset: Tensor, dtype: torch.dtype) -> RidgeState:
        """Decision functions at their scale, of the classes that are present."""
        bias = (self.scale * bias).expand(absent.shape).masked_fill(absent, -torch.inf)  # [E, N]
        return RidgeState((self.scale * weight).to(dtype), bias.to(dtype), offset)

    def _penalty(self, matrix: Tensor, mask: Tensor, absent: Tensor) -> Tensor | float:
        """Alpha of each episode ``[E, 1]``; the trace of the matrix is the sum of squares of the rows."""
        if not isinstance(self.alpha, str):
            return self.alpha
        count, classes = mask.sum(-1), (~absent).sum(-1, keepdim=True)  # [E, 1]
        square = matrix.diagonal(dim1=1, dim2=2).sum(-1, keepdim=True) / (count - 1).clamp(min=1)
        return _AUTO * torch.where(square > 0, square, torch.ones_like(square)) * count / classes.clamp(min=1)


def _solve(matrix: Tensor, right: Tensor, alpha: Tensor | float) -> Tensor:
    """``right (matrix + alpha I)⁻¹``: ``[E, N, R]`` for a symmetric matrix ``[E, R, R]``."""
    matrix.diagonal(dim1=1, dim2=2).add_(alpha)
    return torch.cholesky_solve(right.mT, torch.linalg.cholesky_ex(matrix).L).mT

"""Ridge regression on one-hot labels, in closed form."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.affinity import squared_distances
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.experts import beside_means, check_before, left_out, sharpness_of_means, weigh_experts
from fewshot.maths.held_out import differs_enough, remaining, some_rows, without_rows
from fewshot.maths.linalg import class_sums, crowded, product, squared_lengths
from fewshot.maths.outliers import distance_to_means
from fewshot.maths.spread import AUTO, check_auto

_AUTO = 1.0  # chosen by benchmarks/defaults.py
_BEFORE = 0.1  # weight of class means before any example is left out; likewise
_SHARP = 10.0  # factor at which answers in 0..1 are about as sharp as class means
_ASKED = 512  # rows that are left out, at most: two weights need no more
_LEAST = 1e-6  # of a row that is its own answer


class RidgeState(NamedTuple):
    """One linear decision function per class, of rows relative to an offset."""

    weight: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]
    offset: Tensor  # [E, 1, D] or [E, 1, 1]


class Ridge(Learner):
    """Fits least squares with an L2 penalty from the support to its one-hot labels.

    Minimises ``Σ_s |W x_s + b - y_s|² + alpha |W|²`` with y in {0, 1}; ``logits = scale (W q + b)``. With a number for
    alpha that is scikit-learn's ``Ridge`` on one-hot targets. Its ``RidgeClassifier`` has targets -1 and 1, so its
    decision values are ``2 logits - 1`` (scale 1) and its predictions the same.

    The solution is ``W = Yᵀ (X Xᵀ + alpha I)⁻¹ X``, of S equations, where there are no more rows than
    features, else ``W = Yᵀ X (Xᵀ X + alpha I)⁻¹``, of D (X and Y centred where there is an intercept).

    Where classes overlap much, as kinds of reviews do, class means answer better, by 1.4 points whatever the penalty.
    So by default they are asked as well, ``logits = scale (a (W q + b) + c m_q)`` with ``m_qn = -K / (K + 1) |q - p_n|²
    / r²`` for K rows a class of root mean square distance r from their mean. The weights a and c are those under which
    labelled rows are likeliest when each is left out of both, near to 1 and `means` where there are few
    (`weigh_experts`); what is left of an answer is known from the row's leverage, so that nothing is fitted again.

    Args:
        alpha: strength of the penalty; ``"auto"``: the mean square distance of the support from its mean, times the
            mean number of shots, so that neither the size of the features nor that of the support matters (without
            intercept: from zero). On features of length one, the paper's and most others' numbers are 0.1 to 1.
        scale: factor on the logits; it changes probabilities, not predictions. Regression on one-hot labels
            answers in 0..1, so with 1 the probabilities are rather flat.
        fit_intercept: fit b, which is not penalised; without it b = 0, as in R2-D2.
        means: weight c of class means before any example has been left out; 0: they are not asked. ``"auto"``: 0.1
            where alpha is ``"auto"``, and 0 where it is a number.

    Raises:
        ValueError: alpha is neither "auto" nor positive and finite, or means neither "auto" nor at least 0 and finite.

    The paper's setting: ``ridge(alpha=0.1, fit_intercept=False)``, or `R2D2`, which learns the numbers.

    Reference: Bertinetto, Henriques, Torr, Vedaldi, "Meta-learning with differentiable closed-form solvers",
    ICLR 2019, arXiv:1805.08136.

    Example:
        >>> episode = Episode(torch.eye(2)[None], torch.tensor([[0, 1]]), torch.tensor([[[1.0, 0.0]]]), way=2)
        >>> Ridge(alpha=1.0)(episode)
        tensor([[[0.7500, 0.2500]]])
    """

    name: ClassVar[str] = "ridge"
    weighted = True

    def __init__(
        self,
        alpha: float | str = AUTO,
        scale: float = 1.0,
        fit_intercept: bool = True,
        means: float | str = AUTO,
    ) -> None:
        super().__init__()
        check_auto("alpha", alpha)
        check_before("means", means)
        self.alpha = alpha
        self.scale = scale
        self.fit_intercept = fit_intercept
        self.means = means
        self.invariant = ("offset",) if fit_intercept else ()

    def adapt(self, episode: Support) -> RidgeState:
        """Solve for the weights of each episode, and weigh the solution against class means."""
        episode, offset = self._relative(episode)
        support = episode.support
        # The Gram matrix squares the condition: float32 could make it indefinite where alpha is small.
        exact = torch.float32 if support.device.type == "mps" else torch.float64
        share = (episode.labels >= 0).to(exact)  # [E, S], how often each row is there
        if episode.weights is not None:
            share = share * episode.weights.to(exact)
        rows = support.to(exact, copy=True)  # [E, S, D]
        mean, bias = rows.new_zeros(len(rows), 1, rows.shape[-1]), rows.new_zeros(len(rows), 1, 1)
        if self.fit_intercept:
            total = share.sum(1).view(-1, 1, 1)
            total = torch.where(total > 0, total, 1)
            mean = product(share.unsqueeze(1) / total, rows)  # [E, 1, D]
            bias = class_sums(episode, torch.ones_like(share).unsqueeze(-1)) / total  # [E, N, 1]
            rows.sub_(mean)  # in place: fresh memory is what costs
        root = share.sqrt().unsqueeze(1)  # [E, 1, S]: least squares of rows that are there so often
        if rows.shape[1] <= rows.shape[2]:
            target = (episode.one_hot.mT.to(exact) - bias) * root  # [E, N, S]
            system = self._system(product(rows, rows.mT) * root * root.mT, share, episode.shots)  # [E, S, S]
            weight = product(system.solve(target) * root, rows)  # [E, N, D]
        else:
            # Centred rows sum to zero, so that targets need no centring.
            one_hot = None if crowded(episode) else episode.one_hot.to(exact) * share.unsqueeze(-1)
            right = class_sums(episode, rows) if one_hot is None else product(one_hot.mT, rows)
            scaled = rows * root.mT
            system = self._system(product(scaled.mT, scaled), share, episode.shots)  # [E, D, D]
            weight = system.solve(right)
        if self._before():
            weight, bias = self._beside_means(episode, rows, share, system, weight, bias)
        return self._state(weight, bias - product(weight, mean.mT), episode.shots == 0, offset, support.dtype)

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
        mean = mean + rest.shift  # [F, 1, D]
        counts = class_sums(copies, torch.ones_like(rest.share).unsqueeze(-1))  # [F, N, 1]
        bias = counts / rest.share.sum(1).view(-1, 1, 1)
        if rows.shape[1] <= rows.shape[2]:
            root = rest.share.sqrt().unsqueeze(1)  # [F, 1, S]
            cross = product(rows, rest.shift.mT)  # [F, S, 1]
            gram = product(rows, rows.mT) - cross - cross.mT + rest.shift.square().sum(-1, keepdim=True)
            system = self._system(gram * root * root.mT, rest.share, copies.shots)  # [F, S, S]
            target = (copies.one_hot.mT.to(exact) - bias) * root  # [F, N, S]
            shares = system.solve(target) * root
            weight = product(shares, rows.expand(len(left), -1, -1)) - shares.sum(-1, keepdim=True) * rest.shift
        else:
            scaled = rows if support.weights is None else rows * share.sqrt().unsqueeze(-1)
            system = self._system(rest.scatter(product(scaled.mT, scaled)), rest.share, copies.shots)  # [F, D, D]
            right = class_sums(support, rows) - rest.lost - counts * rest.shift  # [F, N, D]
            weight = system.solve(right)
        if self._before():
            each = [
                self._beside_means(copy, rows - shift, *own)
                for copy, shift, *own in zip(
                    copies, rest.shift.split(1), rest.share.split(1), system.split(), weight.split(1), bias.split(1),
                    strict=True,
                )
            ]  # fmt: skip  # one copy at a time: its rows around their mean are fresh memory
            weight, bias = (torch.cat(parts) for parts in zip(*each, strict=True))
        offset = state.offset.expand(len(left), -1, -1)
        return self._state(weight, bias - product(weight, mean.mT), copies.shots == 0, offset, support.support.dtype)

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
        bias = (self.scale * bias.squeeze(-1)).expand(absent.shape).masked_fill(absent, -torch.inf)  # [E, N]
        return RidgeState((self.scale * weight).to(dtype), bias.to(dtype), offset)

    def _before(self) -> float:
        """What class means weigh before any example has been left out."""
        if not isinstance(self.means, str):
            return self.means
        return _BEFORE if isinstance(self.alpha, str) else 0.0

    def _system(self, matrix: Tensor, share: Tensor, shots: Tensor) -> _System:
        """Factorise ``matrix + alpha I``; the trace of the matrix is the sum of squares of the rows."""
        count, classes = share.sum(1, keepdim=True), (shots > 0).sum(1, keepdim=True)  # [E, 1]
        square = matrix.diagonal(dim1=1, dim2=2).sum(-1, keepdim=True) / (count - 1).clamp(min=1)
        square = torch.where(square > 0, square, torch.ones_like(square))
        alpha = _AUTO * square * count / classes.clamp(min=1) if isinstance(self.alpha, str) else self.alpha
        matrix.diagonal(dim1=1, dim2=2).add_(alpha)
        return _System(torch.linalg.cholesky_ex(matrix).L, torch.as_tensor(alpha).expand_as(square), square)

    def _beside_means(
        self, episode: Support, rows: Tensor, share: Tensor, system: _System, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``a (W x + b) + c m_x`` as a linear function of rows relative to their mean."""
        shots = class_sums(episode, torch.ones_like(share).unsqueeze(-1))  # [E, N, 1]
        prototypes = class_sums(episode, rows) / torch.where(shots > 0, shots, 1)  # [E, N, D]
        shots, square = shots.squeeze(-1), system.square.unsqueeze(-1)
        sharp = sharpness_of_means(shots, square) / _SHARP  # [E, 1, 1]
        before = (1.0, self._before())
        if int(episode.shots.max()) < 2 and not (share > 1).any():  # nothing can be left out
            weights = weight.new_tensor(before).expand(len(weight), -1)
            return beside_means(weight, bias, prototypes, weights, sharp)
        once = share.clamp(max=1)  # of a row that is there twice, one is left out
        lever = system.leverage(rows * share.sqrt().unsqueeze(-1)) / share.clamp(min=1)  # [E, S]
        if self.fit_intercept:
            lever = lever + once / share.sum(1, keepdim=True)
        place = some_rows(episode, _ASKED)  # [E, R]
        once, lever, share = (part.gather(1, place).unsqueeze(-1) for part in (once, lever, share))
        asked = rows.gather(1, place.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))  # [E, R, D]
        own = episode.labels.gather(1, place).unsqueeze(-1) == torch.arange(episode.way, device=rows.device)
        one_hot, remain = own.to(rows), shots.unsqueeze(1) - once  # [E, R, N]
        by_ridge = (product(asked, weight.mT) + bias.mT - lever * one_hot) / (1 - lever).clamp(min=_LEAST)
        by_means = -sharp * squared_distances(asked, prototypes) * left_out(one_hot, shots, once).square()
        absent = (shots == 0).view(len(shots), 1, -1, 1)
        seen = (_SHARP * torch.stack([by_ridge, by_means], -1)).masked_fill(absent, -torch.inf)  # [E, R, N, 2]
        weights = weigh_experts(seen, share * one_hot * (remain > 0), before, follow=True)
        return beside_means(weight, bias, prototypes, weights, sharp)


class _System(NamedTuple):
    """The factorised normal equations, of S or of D unknowns."""

    factor: Tensor  # [E, R, R]
    alpha: Tensor  # [E, 1]
    square: Tensor  # [E, 1], mean square distance of the rows from their mean

    def split(self) -> list[_System]:
        """Those of each episode."""
        return [_System(*parts) for parts in zip(*(tensor.split(1) for tensor in self), strict=True)]

    def solve(self, right: Tensor) -> Tensor:
        """``right (M + alpha I)⁻¹`` ``[E, N, R]``."""
        return torch.cholesky_solve(right.mT, self.factor).mT

    def leverage(self, rows: Tensor) -> Tensor:
        """``x_sᵀ (Xᵀ X + alpha I)⁻¹ x_s`` of the rows that the equations are of ``[E, S]``."""
        if rows.shape[1] <= rows.shape[2]:
            return 1 - self.alpha * torch.cholesky_inverse(self.factor).diagonal(dim1=1, dim2=2)
        return torch.linalg.solve_triangular(self.factor, rows.mT, upper=False).square().sum(1)

"""Linear discriminant analysis: Gaussian classes of one shrunk covariance."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.held_out import differs_enough, remaining, without_rows
from fewshot.maths.linalg import class_means, own_class, product, squared_lengths

SHRINKAGES = ("auto", "ledoit-wolf", "oas")
_AUTO = 4.0  # chosen by benchmarks/defaults.py
PRIORS = ("uniform", "empirical")


class LDAState(NamedTuple):
    """One linear decision function per class, of rows relative to an offset."""

    weight: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]
    offset: Tensor  # [E, 1, D] or [E, 1, 1]


class LDA(Learner):
    """Classifies by Gaussian classes that share one covariance, shrunk towards a sphere.

    ``Σ = (1 - ρ) S + ρ tr(S)/D I`` with S the covariance of the support around its class means (divided by the
    number of rows); ``logits = μ_nᵀ Σ⁻¹ q - ½ μ_nᵀ Σ⁻¹ μ_n + log prior_n``. With S < D rows, the inverse is applied
    through the S x S matrix of inner products.

    With one shot per class S is zero: then Σ = I, and the learner is `Prototypes`.

    Args:
        shrinkage: ρ in 0..1, or how it is chosen: ``"ledoit-wolf"`` or ``"oas"``; or ``"auto"``: Ledoit and Wolf's, but
            at least ``4 D / (4 D + S - N)``, as their formula counts S independent rows where, around the means of N
            classes of a few shots each, there are S - N. With fewer rows than features it must be greater than 0.
        prior: of the classes: ``"uniform"``, or ``"empirical"``: by their shots.

    Raises:
        ValueError: an unknown name, or a number out of range.

    Reference: Ledoit, Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal
    of Multivariate Analysis 2004; Chen, Wiesel, Eldar, Hero, "Shrinkage algorithms for MMSE covariance
    estimation", IEEE Transactions on Signal Processing 2010, arXiv:0907.4698.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> results = evaluate(["lda(shrinkage='oas')"], digits, sampler, episodes=20)
        >>> round(results["lda(shrinkage='oas')"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "lda"
    invariant = ("offset", "scale")

    def __init__(self, shrinkage: float | str = "auto", prior: str = "uniform") -> None:
        super().__init__()
        if (isinstance(shrinkage, str) and shrinkage not in SHRINKAGES) or (
            not isinstance(shrinkage, str) and not 0 < shrinkage <= 1
        ):
            raise ValueError(f"shrinkage={shrinkage!r}; it must be in 0..1 (not 0), 'auto', 'ledoit-wolf' or 'oas'.")
        if prior not in PRIORS:
            raise ValueError(f"prior={prior!r}; it must be 'uniform' or 'empirical'.")
        self.shrinkage = shrinkage
        self.prior = prior

    def adapt(self, support: Support) -> LDAState:
        """Estimate means and covariance, and solve for the decision functions."""
        return self._decide(self._estimate(support), support.shots, support.support.dtype)

    def adapt_without(self, state: LDAState, support: Support, left: Tensor) -> LDAState:
        """Solve anew, with a covariance from which the rows that are left out are taken.

        With fewer rows than features, their inner products are formed anew, as those around new means all differ.
        """
        shots = without_rows(support, left).shots  # [F, N]
        if support.support.shape[1] <= support.support.shape[2] or not bool((shots > 1).any(1).all()):
            return super().adapt_without(state, support, left)
        means, rows, _ = self._around_means(support)  # [1, N, D], [1, S, D]
        share, labels = (support.labels >= 0).to(rows.dtype), support.labels.clamp(min=0)
        rest = remaining(rows, share, labels, support.way, left, together=False)
        away = torch.empty_like(rows[0])  # of one copy at a time: fresh memory is what costs
        squares = torch.stack([squared_lengths(torch.sub(rows[0], shift[labels[0]], out=away)) for shift in rest.shift])
        squares = squares * rest.share  # [F, S]
        if not differs_enough(squares.sum(1), squared_lengths(rows).sum(1)):
            return super().adapt_without(state, support, left)
        gram = rest.scatter(product(rows.mT, rows))  # [F, D, D]
        estimate = self._shrunk(means + rest.shift, rows, gram, squares, shots, state.offset.expand(len(left), -1, -1))
        return self._decide(estimate, shots, support.support.dtype)

    def _decide(self, estimate: _Estimate, shots: Tensor, dtype: torch.dtype) -> LDAState:
        weight = _inverse(estimate, estimate.means)  # [E, N, D]
        bias = -(weight * estimate.means).sum(-1) / 2
        if self.prior == "empirical":
            bias = bias + (shots.to(bias).clamp(min=1) / shots.sum(1, keepdim=True).clamp(min=1)).log()
        bias = bias.masked_fill(shots == 0, -torch.inf)
        return LDAState(weight.to(dtype), bias.to(dtype), estimate.offset)

    def _estimate(self, episode: Support) -> _Estimate:
        means, rows, offset = self._around_means(episode)
        gram = product(rows.mT, rows) if rows.shape[1] > rows.shape[2] else product(rows, rows.mT)
        return self._shrunk(means, rows, gram, rows.square().sum(-1), episode.shots, offset)

    @staticmethod
    def _around_means(episode: Support) -> tuple[Tensor, Tensor, Tensor]:
        """Class means, rows around them, and what the means are relative to."""
        episode, _, _, offset = relative_to_centre(episode)
        support = episode.support
        exact = torch.float32 if support.device.type == "mps" else torch.float64
        known = (episode.labels >= 0).unsqueeze(-1)  # [E, S, 1]
        rows = torch.where(known, support, 0).to(exact)
        means, _ = class_means(episode.replace(support=rows, unlabelled=None))
        return means, rows - own_class(episode, means), offset

    def _shrunk(
        self, means: Tensor, rows: Tensor, gram: Tensor, squares: Tensor, shots: Tensor, offset: Tensor
    ) -> _Estimate:
        """The shrunk covariance, from inner products and squared lengths of rows around the class means."""
        exact, width = gram.dtype, rows.shape[-1]
        count = shots.sum(1).to(exact).view(-1, 1, 1)
        trace = squares.sum(-1).view(-1, 1, 1) / count  # tr(S)
        share = self._shrinkage(gram, squares, trace, count, width)
        if self.shrinkage == "auto":
            free = count - (shots > 0).sum(1).view(-1, 1, 1)  # degrees of freedom
            share = torch.maximum(share, _AUTO * width / (_AUTO * width + free))
        sphere = share * trace / width  # [E, 1, 1]
        floor = torch.finfo(exact).eps * trace
        # No row left its mean, but for rounding.
        flat = trace <= width * (4 * torch.finfo(exact).eps) ** 2 * means.square().mean((1, 2), keepdim=True)
        sphere = torch.where(flat, torch.ones_like(sphere), sphere + floor)
        spread = torch.where(flat, torch.zeros_like(share), (1 - share) / count)
        return _Estimate(means, rows, gram, spread, sphere, offset)

    def predict(self, state: LDAState, query: Tensor) -> Tensor:
        """Decision values of the queries."""
        return product(shifted(query, state.offset), state.weight.mT) + state.bias.unsqueeze(1)  # [E, Q, N]

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """Half the squared Mahalanobis distance to the nearest class (less the logarithm of its prior)."""
        estimate = self._estimate(episode)
        query = shifted(episode.query, estimate.offset).to(estimate.means)
        squares = (_inverse(estimate, query) * query).sum(-1)  # [E, Q], which the logits leave out
        return squares / 2 - logits.amax(-1)

    def _shrinkage(self, gram: Tensor, squares: Tensor, trace: Tensor, count: Tensor, width: int) -> Tensor:
        """ρ ``[E, 1, 1]``, from inner products only."""
        if not isinstance(self.shrinkage, str):
            return torch.full_like(trace, self.shrinkage)
        tiny = torch.finfo(gram.dtype).tiny
        square = gram.square().sum((1, 2)).view(-1, 1, 1) / count**2  # |S|² = Σ S_ij², of XᵀX as of X Xᵀ
        if self.shrinkage != "oas":
            fourth = squares.square().sum(-1).view(-1, 1, 1) / count  # mean |x|⁴
            distance = square - trace**2 / width
            error = (fourth - square) / count
            return (error / distance.clamp(min=tiny)).clamp(0, 1)
        mean, squared_mean = square / width**2, (trace / width) ** 2
        return ((mean + squared_mean) / ((count + 1) * (mean - squared_mean / width)).clamp(min=tiny)).clamp(0, 1)


class _Estimate(NamedTuple):
    """Class means, and the shared covariance ``spread XᵀX + sphere I``, in float64."""

    means: Tensor  # [E, N, D]
    rows: Tensor  # X, around the class means [E, S, D]
    gram: Tensor  # X Xᵀ [E, S, S], or XᵀX [E, D, D] where there are more rows than features
    spread: Tensor  # [E, 1, 1]
    sphere: Tensor  # [E, 1, 1]
    offset: Tensor  # [E, 1, D] or [E, 1, 1], what the means are relative to


def _inverse(estimate: _Estimate, right: Tensor) -> Tensor:
    """The inverse covariance times each row of the right-hand side ``[E, R, D]``."""
    _, rows, gram, spread, sphere, _ = estimate
    if rows.shape[1] > rows.shape[2]:
        matrix = spread * gram
        matrix.diagonal(dim1=1, dim2=2).add_(sphere.squeeze(-1))
        return torch.cholesky_solve(right.mT, torch.linalg.cholesky_ex(matrix).L).mT
    small = spread * gram
    small.diagonal(dim1=1, dim2=2).add_(sphere.squeeze(-1))
    inner = product(rows, right.mT) * spread  # [E, S, N]
    inner = torch.cholesky_solve(inner, torch.linalg.cholesky_ex(small).L)
    return (right - product(inner.mT, rows)) / sphere

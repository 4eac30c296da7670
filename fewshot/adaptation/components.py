"""`tca` and `jda`: directions in which the two domains, or their classes, have equal means and rows vary most."""

from __future__ import annotations

import torch
from torch import Tensor

from episodes.episode import Support
from episodes.inputs import check_whole
from fewshot.adaptation.adapter import Ask, DomainAdapter
from fewshot.learner import State
from fewshot.maths.linalg import product


class TCA(DomainAdapter):
    """Transfer component analysis: a linear map A with equal domain means and much variance.

    The columns of A maximise ``a^T X^T H X a / a^T (X^T M X + reg I) a`` over the rows X of both domains, H centring
    and ``M = m m^T / |m m^T|``, m = 1/S on source and -1/U on target rows: the squared distance of the means. The
    published figures are those of rows of unit length before and after, ``"l2 | tca | l2 | nearest"``.

    Args:
        dim: columns of A, at most what the rows span.
        reg: of the size of A, above 0.

    Raises:
        ValueError: an argument out of range.

    Reference: Pan, Tsang, Kwok, Yang, "Domain adaptation via transfer component analysis", IEEE Transactions on
    Neural Networks 22 (2011); as a linear map: Long, Wang, Ding, Sun, Yu, ICCV 2013.

    Example:
        >>> import torch
        >>> from episodes import EpisodeSampler, load_dataset
        >>> from fewshot import load_learner
        >>> digits = load_dataset("digits")
        >>> episode, targets = EpisodeSampler(digits.labels, way=5, shot=5, query=15).draw(count=20).episode(digits)
        >>> moved = episode.with_query(episode.query + torch.linspace(0, 1, 64))  # other light
        >>> found = [load_learner(spec)(moved).argmax(-1) for spec in ("logistic", "tca | logistic")]
        >>> [round((one == targets).float().mean().item(), 1) for one in found]
        [0.7, 0.9]
    """

    name = "tca"

    def __init__(self, dim: int = 20, reg: float = 1.0) -> None:
        super().__init__()
        self.dim = check_whole("dim", dim)
        if not reg > 0:
            raise ValueError(f"reg={reg!r}; it must be above 0.")
        self.reg = reg

    def align(self, source: Support, target: Tensor, ask: Ask) -> tuple[Support, State]:
        """Source rows mapped; the state is the map ``[E, D, d]``."""
        problem = _Both(source, target)
        axes = problem.components([problem.domains()], self.reg, self.dim)
        support = product(source.support, axes)
        return source.replace(support=support), axes

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Map target rows ``[E, R, d]``."""
        return product(rows, state)


class JDA(TCA):
    """Joint distribution adaptation: TCA, with the means of each class made equal as well.

    Target labels are guessed by the rest of the pipeline, and guessed again after each round, so that the map and the
    guesses improve each other (or spoil each other, where the first ones are bad).

    Args:
        dim: columns of the map.
        reg: of its size, above 0.
        rounds: how often labels are guessed.

    Raises:
        ValueError: an argument out of range.

    Reference: Long, Wang, Ding, Sun, Yu, "Transfer feature learning with joint distribution adaptation", ICCV 2013.

    Example:
        >>> import torch
        >>> from episodes import EpisodeSampler, load_dataset
        >>> from fewshot import load_learner
        >>> digits = load_dataset("digits")
        >>> episode, targets = EpisodeSampler(digits.labels, way=5, shot=5, query=15).draw(count=20).episode(digits)
        >>> moved = episode.with_query(episode.query + torch.linspace(0, 1, 64))  # other light
        >>> found = [load_learner(spec)(moved).argmax(-1) for spec in ("logistic", "jda | logistic")]
        >>> [round((one == targets).float().mean().item(), 1) for one in found]
        [0.7, 0.9]
    """

    name = "jda"

    def __init__(self, dim: int = 20, reg: float = 1.0, rounds: int = 10) -> None:
        super().__init__(dim, reg)
        self.rounds = check_whole("rounds", rounds)

    def align(self, source: Support, target: Tensor, ask: Ask) -> tuple[Support, State]:
        """Source rows mapped after the last round; the state is the map ``[E, D, d]``."""
        problem = _Both(source, target)
        means = [problem.domains()]
        for turn in range(self.rounds):
            axes = problem.components(means, self.reg, self.dim)
            support = product(source.support, axes)
            learned = source.replace(support=support)
            if turn + 1 < self.rounds:
                guesses = ask(learned, product(target, axes)).argmax(-1)  # [E, U]
                means = [problem.domains(), *problem.classes(guesses)]
        return learned, axes


class _Both:
    """Rows of both domains in an orthonormal basis of their span, where the problem is as small as it can be."""

    def __init__(self, source: Support, target: Tensor) -> None:
        known = source.labels >= 0
        self._source, self._target = source, target
        kept = torch.cat([known, known.new_ones(target.shape[:2])], 1).to(target.dtype)  # [E, S + U]
        rows = torch.cat([source.support, target], 1) * kept.unsqueeze(-1)  # [E, R, D]
        self._basis: Tensor | None = None
        if rows.shape[1] < rows.shape[2]:
            self._basis = torch.linalg.qr(rows.mT).Q  # [E, D, R]
            rows = product(rows, self._basis)
        self._rows, self._kept = rows, kept

    def domains(self) -> Tensor:
        """The difference of the two means as weights of rows ``[E, 1, S + U]``."""
        own = (self._source.labels >= 0).to(self._target.dtype)
        counts = own.sum(1, keepdim=True).clamp(min=1)
        other = torch.full_like(self._target[..., 0], -1 / self._target.shape[1])
        return torch.cat([own / counts, other], 1).unsqueeze(1)

    def classes(self, guesses: Tensor) -> list[Tensor]:
        """The same for each class that both domains have ``[E, N, S + U]``, target labels being guesses."""
        own = self._source.one_hot.to(self._target.dtype).mT  # [E, N, S]
        numbers = torch.arange(self._source.way, device=guesses.device)
        other = (guesses.unsqueeze(1) == numbers.view(1, -1, 1)).to(own.dtype)  # [E, N, U]
        both = (own.sum(-1, keepdim=True) > 0) & (other.sum(-1, keepdim=True) > 0)
        shares = [part / part.sum(-1, keepdim=True).clamp(min=1) * both for part in (own, other)]
        return [torch.cat([shares[0], -shares[1]], -1)]

    def components(self, means: list[Tensor], reg: float, dim: int) -> Tensor:
        """The d best directions ``[E, D, d]`` for differences of means ``[E, m, S + U]`` that shall vanish."""
        weights = torch.cat(means, 1)  # [E, m, R]
        # |M|_F of M = W^T W, by the small product.
        size = torch.linalg.matrix_norm(product(weights, weights.mT)).clamp(min=torch.finfo(weights.dtype).tiny)
        gaps = product(weights, self._rows)  # [E, m, r]
        width = self._rows.shape[-1]
        unwanted = product(gaps.mT, gaps) / size.view(-1, 1, 1)
        unwanted = unwanted + reg * torch.eye(width, dtype=gaps.dtype, device=gaps.device)
        count = self._kept.sum(1).view(-1, 1, 1)
        mean = product(self._kept.unsqueeze(1) / count, self._rows)
        centred = (self._rows - mean) * self._kept.unsqueeze(-1)
        scatter = product(centred.mT, centred)
        factor = torch.linalg.cholesky(unwanted)
        half = torch.linalg.solve_triangular(factor, scatter, upper=False)
        whole = torch.linalg.solve_triangular(factor, half.mT, upper=False)
        vectors = torch.linalg.eigh((whole + whole.mT) / 2).eigenvectors
        dim = min(dim, width)
        axes = torch.linalg.solve_triangular(factor.mT, vectors[..., -dim:].flip(-1), upper=True)  # [E, r, d]
        # Directions of length one: axes along which rows vary more weigh more.
        axes = axes / torch.linalg.vector_norm(axes, dim=1, keepdim=True)
        return axes if self._basis is None else product(self._basis, axes)

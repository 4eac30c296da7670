"""Distribution calibration: a support row borrows mean and covariance of the base classes near to it."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.counter import Stream, uniforms
from episodes.episode import Episode, Support
from episodes.source import Source
from fewshot.learner import Learner
from fewshot.maths.linalg import product
from fewshot.maths.newton import softmax_regression
from fewshot.maths.outliers import distance_to_means
from fewshot.maths.skewness import signed_power, skewness_added
from fewshot.maths.spread import AUTO, check_auto, spread

_BYTES = 256 * 2**20  # of generated rows, in float64, at a time
_NEAR = 1e-3  # a decision value this near to the optimum for random draws is as good
_MOST = 4000  # rows drawn in an episode, beyond the first draw of each support row
_POWER = 0.5
_AUTO = 3.0  # as in `Logistic`
_PAPER = 1.0
_MORE = 0.25  # skewness that the power may add: so little is chance, and rows that differ little decide alike


class CalibratedState(NamedTuple):
    """One linear decision function per class."""

    weight: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]
    as_they_come: Tensor  # [E], True where queries are not raised to the power


class DistributionCalibration(Learner):
    """Draws more rows around each support row, as spread as similar base classes are, and fits a regression to all.

    Rows become ``x = sign(x) |x|^power``. Of a support row x, the nearest base means m_b, b in B, give a Gaussian of
    mean ``(x + Σ_b m_b) / (|B| + 1)`` and covariance ``mean_b Σ_b + alpha 11ᵀ``; softmax regression of strength
    C is fitted to the support and `samples` draws of each of its rows. The same standard normal numbers serve
    every row, so an answer depends on the support alone.

    Give the base classes, none of which is tested, by ``fit(base)``. Without them B is empty, and what is left is
    regression on the support with noise of covariance ``alpha 11ᵀ``.

    The power is there to make values less skewed, as those behind a rectifier are, most of them near to zero and few
    large. Of pixels that are mostly white it makes them more skewed, and fades what little ink there is: by ``"auto"``
    such rows stay as they come.

    Args:
        neighbours: base classes that a row borrows from.
        alpha: added to each entry of the covariance; 0.21 for miniImageNet in the paper.
        samples: drawn around each support row, but 4,000 in an episode at most, or one each; 150 for 5 shots in the
            paper, which draws 750 in all for a class.
        power: of the transform (Tukey's ladder); 1 leaves the rows. ``"auto"``: 0.5, or 1 where 0.5 adds more than 0.25
            to the absolute skewness of all values of the support; of the base classes, on average, if there are any.
        C: inverse strength of the regularisation. ``"auto"``: 1 with base classes. Without them draws say nothing that
            their row does not: 3 divided by the mean square distance of the support (after the power) from its mean,
            and by the number of a row and its draws, which count as one row together.

    Raises:
        ValueError: an argument out of range.

    The paper's setting: ``distribution-calibration(samples=150, power=0.5, C=1.0)`` at 5 shots, 750 at 1 shot.

    Reference: Yang, Liu, Xu, "Free lunch for few-shot learning: distribution calibration", ICLR 2021,
    arXiv:2101.06395.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> results = evaluate(["distribution-calibration"], digits, sampler, episodes=20)
        >>> round(results["distribution-calibration"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "distribution-calibration"

    def __init__(
        self,
        neighbours: int = 2,
        alpha: float = 0.21,
        samples: int = 20,
        power: float | str = AUTO,
        C: float | str = AUTO,
    ) -> None:
        super().__init__()
        check_auto("power", power)
        check_auto("C", C)
        if neighbours < 1 or alpha < 0 or samples < 1:
            raise ValueError(
                f"neighbours={neighbours}, alpha={alpha}, samples={samples}; neighbours and samples must be at least "
                "1, alpha at least 0."
            )
        self.neighbours, self.alpha, self.samples, self.power, self.C = neighbours, alpha, samples, power, C
        self.register_buffer("means", torch.zeros(0, 0))  # [B, D]
        self.register_buffer("factors", torch.zeros(0, 0, 0))  # [B, R, D]: F_bᵀ F_b is the covariance
        self.register_buffer("as_they_come", torch.zeros(0, dtype=torch.bool))  # [1], of the base classes if any

    def fit(self, base: Source) -> DistributionCalibration:
        """Take mean and covariance of each base class; returns itself.

        Raises:
            ValueError: base rows without labels.
        """
        if isinstance(base, Tensor) or not hasattr(base, "labels"):
            raise ValueError("distribution-calibration needs the classes of the base rows: fit a source, not a tensor.")
        classes = [(base.labels == label).nonzero().squeeze(1) for label in base.labels.unique().tolist()]
        if isinstance(self.power, str):
            added = torch.cat([skewness_added(base[index].unsqueeze(0), _POWER) for index in classes])
            self.as_they_come = added.mean(0, keepdim=True) > _MORE
        means, factors = [], []
        for index in classes:
            rows = base[index].double()  # [R, D]
            rows = self._transform(rows.unsqueeze(0), self._stay(rows.unsqueeze(0))).squeeze(0)
            means.append(rows.mean(0))
            factors.append(torch.linalg.qr((rows - means[-1]) / max(1, len(rows) - 1) ** 0.5, mode="r").R)
        rank = max(len(factor) for factor in factors)
        padded = [torch.nn.functional.pad(factor, (0, 0, 0, rank - len(factor))) for factor in factors]
        self.means, self.factors = torch.stack(means).float(), torch.stack(padded).float()
        return self

    def adapt(self, episode: Support) -> CalibratedState:
        """Draw, and fit, some episodes at a time."""
        per_episode = 8 * episode.support[0].numel() * (self.samples + 1)
        size = max(1, _BYTES // max(1, per_episode))
        if episode.support.shape[1] * self.samples > _MOST:
            size = 1  # how many are drawn depends on the episode's own rows, and not on those beside it
        parts = [self._fit(episode[start : start + size]) for start in range(0, len(episode), size)]
        return CalibratedState(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    @torch.no_grad()
    def _fit(self, episode: Support) -> CalibratedState:
        stay = self._stay(episode.support, episode.labels >= 0)
        support = self._transform(episode.support, stay)
        samples = max(1, min(self.samples, _MOST // max(1, int((episode.labels >= 0).sum(1).max()))))
        drawn = torch.cat([support.unsqueeze(2), self._draws(support, samples)], 2)  # [E, S, 1 + samples, D]
        exact = torch.float32 if support.device.type == "mps" else torch.float64
        target = episode.one_hot.mT.to(exact)  # [E, N, S]
        present = target.sum(-1) > 0  # [E, N]
        target = target.repeat_interleave(drawn.shape[2], -1)
        rows = drawn.flatten(1, 2).to(exact)  # [E, S (1 + samples), D]
        weights = target.sum(1, keepdim=True) / target.sum((1, 2)).view(-1, 1, 1).clamp(min=1)
        mean = product(weights, rows)  # [E, 1, D]
        strength = self._strength(support, episode.labels >= 0, drawn.shape[2]).to(rows)  # [E, 1, 1]
        weight, bias = softmax_regression(rows - mean, target.contiguous(), strength, tolerance=_NEAR)
        bias = (bias - product(weight, mean.mT)).squeeze(-1).masked_fill(~present, -torch.inf)
        return CalibratedState(weight.to(support.dtype), bias.to(support.dtype), stay)

    def _strength(self, support: Tensor, known: Tensor, often: int) -> Tensor:
        """The C of each row and each draw ``[E, 1, 1]``; a row and its draws are so many."""
        if self.C == AUTO and not len(self.means):
            return _AUTO / spread(support, known).root.square() / often
        return torch.full((len(support), 1, 1), _PAPER if isinstance(self.C, str) else self.C)

    def _draws(self, support: Tensor, samples: int) -> Tensor:
        """Rows around each support row ``[E, S, samples, D]``."""
        count, width = min(self.neighbours, len(self.means)), support.shape[-1]
        common = self._normal(0, 1, samples).to(support) * self.alpha**0.5  # [samples, 1]: alpha 11ᵀ is of rank one
        if not count:
            return support.unsqueeze(2) + common
        means = self.means.to(support)
        nearest = torch.cdist(support, means).topk(count, largest=False).indices  # [E, S, B]
        centres = (support + means[nearest].sum(2)) / (count + 1)  # [E, S, D]
        rows = (centres.unsqueeze(2) + common).flatten(0, 1)  # [E S, samples, D]
        nearest = nearest.flatten(0, 1)
        for place in range(count):
            noise = self._normal(1 + place, self.factors.shape[1], samples).to(support) / count**0.5  # [samples, R]
            for label in nearest[:, place].unique().tolist():
                rows[nearest[:, place] == label] += noise @ self.factors[label].to(support)
        return rows.view(*support.shape[:2], samples, width)

    def _normal(self, stream: int, width: int, samples: int) -> Tensor:
        numbers = torch.from_numpy(uniforms(0, Stream.CALIBRATION + stream, 0, samples, width).copy())
        return torch.special.ndtri(numbers.clamp(1e-12, 1 - 1e-12))

    def _stay(self, rows: Tensor, known: Tensor | None = None) -> Tensor:
        """Whether rows, and those they are compared with, are not raised to the power ``[E]``."""
        if not isinstance(self.power, str):
            return torch.full((len(rows),), self.power == 1, device=rows.device)
        if len(self.as_they_come):
            return self.as_they_come.to(rows.device).expand(len(rows))
        return skewness_added(rows, _POWER, known) > _MORE

    def _transform(self, rows: Tensor, stay: Tensor) -> Tensor:
        changed = signed_power(rows, _POWER if isinstance(self.power, str) else self.power)
        return torch.where(stay.view(-1, 1, 1), rows, changed)  # [E, R, D]

    def predict(self, state: CalibratedState, query: Tensor) -> Tensor:
        """Decision values of the queries."""
        query = self._transform(query, state.as_they_come)
        return product(query, state.weight.mT) + state.bias.unsqueeze(1)  # [E, Q, N]

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest class mean of the rows as they come."""
        return distance_to_means(episode)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        for name in self._buffers:  # their size is that of the base data, unknown before
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *rest)

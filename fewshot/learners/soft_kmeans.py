"""Prototypes refined by soft k-means over rows without labels."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.affinity import squared_distances
from fewshot.maths.centring import shifted
from fewshot.maths.held_out import folds_by_value
from fewshot.maths.spread import AUTO, Spread, check_auto, spread_of_support
from fewshot.maths.transduction import SupportState, keep_support

_AUTO = 10.0  # chosen by benchmarks/defaults.py
_FOLDS = 4


class SoftKMeansState(NamedTuple):
    """The support, and the rows without labels."""

    support: SupportState
    unlabelled: Tensor  # [E, U, D]; U may be 0
    spread: Spread  # by which rows are rescaled
    fold: Tensor  # [E, S], in which each support row is held out


class SoftKMeans(Learner):
    """Moves each prototype towards the unlabelled rows that may belong to it.

    ``z_un = softmax_n(-scale |u - p_n|²)`` over the unlabelled rows, then
    ``p'_n = (Σ_support of n x + Σ_u z_un u) / (K_n + Σ_u z_un)``; `steps` times. Then
    ``logits = -scale |q - p'_n|²``.

    With distractors there is one more cluster at the mean of the support, of a larger radius r, for
    unlabelled rows of no class: its logit is ``-scale |u - m|² / r² - 2 log r`` in place of a class's. Rows that
    it takes move no prototype, and no query is assigned to it.

    Fifteen queries would weigh fifteen times as much as the one example of their class, which is right where the
    nearest prototype is; where it often is not, the means end far from where examples had put them. So what falls to
    a class weighs at most `limit` times its examples: ``p'_n = (Σ_support x + w_n Σ_u z_un u) / (K_n + w_n Σ_u z_un)``
    with ``w_n = min(1, limit K_n / Σ_u z_un)``.

    Rows without labels help where classes are round clusters. Where they are not, such as raw spectrograms of digits,
    the means are drawn away from where a few labels had put them, up to 14 points below class means at 16 shots. So
    with two examples and more of a class they are held out, in at most four folds, and the means of the support are
    left where they are if held-out examples are likelier by those. At one shot nothing tells; there raw spectrograms
    lose a point, and with ``l2 |`` in front none.

    Args:
        steps: of k-means; the paper takes one.
        scale: sharpness of assignments and logits; ``"auto"``: 10 divided by the mean square distance of the support
            from its mean, so that the size of the features does not matter.
        queries: the queries are unlabelled rows, too; False: only `Episode.unlabelled` is used, and the
            learner is inductive (without such rows it is `Prototypes`).
        distractors: unlabelled rows may belong to no class.
        radius: of the distractors' cluster relative to a class's.
        validated: False: prototypes move whatever held-out examples say.
        limit: on the weight of the rows without labels of a class relative to its examples; None: they count one each,
            as in the paper.

    Raises:
        ValueError: steps is below 1, or radius, scale or limit is not positive.

    The paper's setting, for features that were learned with it:
    ``soft-kmeans(scale=1.0, validated=False, limit=None)``.

    Reference: Ren, Triantafillou, Ravi, Snell, Swersky, Tenenbaum, Larochelle, Zemel, "Meta-learning for
    semi-supervised few-shot classification", ICLR 2018, arXiv:1803.00676.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=1, query=15)
        >>> results = evaluate(["prototypes", "soft-kmeans"], digits, sampler, episodes=20)
        >>> round(results["prototypes"].mean, 1), round(results["soft-kmeans"].mean, 1)
        (0.7, 0.8)
    """

    name: ClassVar[str] = "soft-kmeans"
    invariant = ("offset",)
    needs = ("support", "unlabelled")
    transductive = True

    def __init__(
        self,
        steps: int = 1,
        scale: float | str = AUTO,
        queries: bool = True,
        distractors: bool = False,
        radius: float = 2.0,
        validated: bool = True,
        limit: float | None = 1.0,
    ) -> None:
        super().__init__()
        check_auto("scale", scale)
        if steps < 1 or radius <= 0 or (limit is not None and not limit > 0):
            raise ValueError(
                f"steps={steps}, radius={radius}, limit={limit}; steps must be at least 1, radius and limit positive "
                "(or no limit: None)."
            )
        self.steps = steps
        self.scale = scale
        self.queries = queries
        self.distractors = distractors
        self.radius = radius
        self.validated = validated
        self.limit = limit
        self.transductive = queries

    def adapt(self, episode: Support) -> SoftKMeansState:
        """Keep the support and the unlabelled rows."""
        fold = folds_by_value(episode, _FOLDS) if self.validated else torch.zeros_like(episode.labels)
        spread = spread_of_support(episode).where(self.scale == AUTO)
        support = keep_support(episode.replace(support=spread.rescale(episode.support)), relative=True)
        more = episode.unlabelled
        more = support.support[:, :0] if more is None else shifted(spread.rescale(more), support.offset)
        return SoftKMeansState(support, more, spread, fold)

    def predict(self, state: SoftKMeansState, query: Tensor) -> Tensor:
        """Refine the prototypes, then score the queries."""
        support, rows, spread, fold = state
        query = shifted(spread.rescale(query), support.offset)
        scale = _AUTO if isinstance(self.scale, str) else self.scale
        if self.queries:
            rows = torch.cat([rows, query], 1)  # [E, U, D]
        prototypes = self._moved(support, rows, scale)
        if self.validated and rows.shape[1]:
            sound = prototypes.isfinite().flatten(1).all(1)  # [E]; a row that is not finite must show in the logits
            harmful = self._harmful(support, rows, scale, fold) & sound
            prototypes = torch.where(harmful.view(-1, 1, 1), support.prototypes, prototypes)
        return -scale * squared_distances(query, prototypes).masked_fill(support.absent.unsqueeze(1), torch.inf)

    def _moved(self, support: SupportState, rows: Tensor, scale: float) -> Tensor:
        """Prototypes ``[E, N, D]`` after all steps."""
        absent = support.absent.unsqueeze(1)  # [E, 1, N]
        shots = support.one_hot.sum(1).unsqueeze(-1)  # [E, N, 1]
        totals, prototypes = support.prototypes * shots, support.prototypes
        outside = self._outside(support, rows, scale) if self.distractors else None
        for _ in range(self.steps):
            logits = -scale * squared_distances(rows, prototypes).masked_fill(absent, torch.inf)  # [E, U, N]
            if outside is not None:
                logits = torch.cat([logits, outside], -1)
            shares = logits.softmax(-1)[..., : shots.shape[1]]
            sums, mass = shares.mT @ rows, shares.sum(1).unsqueeze(-1)  # [E, N, D], [E, N, 1]
            if self.limit is not None:
                weight = (self.limit * shots / mass.clamp(min=torch.finfo(mass.dtype).tiny)).clamp(max=1)
                sums, mass = weight * sums, weight * mass
            prototypes = (totals + sums) / (shots + mass).clamp(min=1)
        return prototypes

    @torch.no_grad()
    def _harmful(self, support: SupportState, rows: Tensor, scale: float, fold: Tensor) -> Tensor:
        """Whether held-out examples are likelier by class means of the support than by moved ones ``[E]``."""
        gain = torch.zeros_like(fold[:, 0], dtype=rows.dtype)  # [E], of log likelihood
        for number in range(_FOLDS):
            held = (fold == number).unsqueeze(-1) * support.one_hot  # [E, S, N]
            left = support.one_hot - held
            shots = left.sum(1)  # [E, N]
            # A class whose examples are all held out cannot be asked about.
            asked = held.bool() & (shots > 0).unsqueeze(1)
            if not asked.any():
                continue
            prototypes = left.mT @ support.support / shots.unsqueeze(-1).clamp(min=1)
            known = support._replace(one_hot=left, prototypes=prototypes, absent=shots == 0)
            for means, sign in ((self._moved(known, rows, scale), 1), (prototypes, -1)):
                far = squared_distances(support.support, means).masked_fill(known.absent.unsqueeze(1), torch.inf)
                gain += sign * torch.where(asked, (-scale * far).log_softmax(-1), 0).sum((1, 2))
        return gain < 0

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest prototype, times the scale."""
        return -logits.amax(-1)

    def _outside(self, support: SupportState, rows: Tensor, scale: float) -> Tensor:
        present = (~support.absent).to(rows.dtype).unsqueeze(-1)  # [E, N, 1]
        centre = (support.prototypes * present).sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp(min=1)
        far = (rows - centre).square().sum(-1, keepdim=True)  # [E, U, 1]
        log_radius = torch.tensor(self.radius, dtype=rows.dtype, device=rows.device).log()
        return -scale * far / self.radius**2 - 2 * log_radius

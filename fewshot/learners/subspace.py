"""Deep subspace networks: the distance to the subspace that a class's examples span."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.experts import sharpness_of_means, weigh_experts
from fewshot.maths.held_out import folds_by_value
from fewshot.maths.linalg import product, rows_of_classes
from fewshot.maths.precision import refuse_non_finite
from fewshot.maths.spread import spread_of_support

_BEFORE = 0.4  # share before any example is held out; chosen by benchmarks/defaults.py
_FOLDS = 5
_ASKED = 2**20  # logits of the held-out rows of a fold, at most


class SubspaceState(NamedTuple):
    """A point and orthonormal directions of each class."""

    means: Tensor  # [E, N, D]
    basis: Tensor  # [E, N * R, D], rows of zeros where a class has fewer than R directions
    absent: Tensor  # [E, N]
    offset: Tensor  # [E, 1, D] or [E, 1, 1], what the means are relative to
    share: Tensor  # [E, 1, 1], of what lies along the subspace, that is taken away


class Subspace(Learner):
    """Classifies by the distance to an affine subspace of each class.

    ``logits = -scale (|q - μ_n|² - ω |P_n (q - μ_n)|²)``; P_n projects onto the `dimensions` principal directions of
    the support of class n around its mean. K shots span K - 1 directions at most, so with one shot this is
    `Prototypes`.

    With ω = 1 that is the distance to the subspace, ``|(I - P_n)(q - μ_n)|²``. Where classes overlap, as kinds of
    reviews do, a few rows span directions of no class, and distances to class means answer better, by up to 2 points;
    of spectrograms distances to subspaces do, by up to 33. So with three rows of a class and more they are held out in
    turn, in at most five folds, and ω is the ratio of the weights under which both kinds of distance make them
    likeliest, near 0.4 where few are held out (`weigh_experts`). With two rows of a class at most ω is 1.

    Args:
        dimensions: of a class's subspace at most.
        scale: factor on the logits; it changes probabilities, not predictions.
        validated: False: ω = 1 whatever held-out examples say, as in the paper.

    Raises:
        ValueError: dimensions is below 1.

    The paper's setting: ``subspace(validated=False)``.

    Reference: Simon, Koniusz, Nock, Harandi, "Adaptive subspaces for few-shot learning", CVPR 2020.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> results = evaluate(["subspace"], digits, sampler, episodes=20)
        >>> round(results["subspace"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "subspace"
    invariant = ("offset", "scale")

    def __init__(self, dimensions: int = 4, scale: float = 1.0, validated: bool = True) -> None:
        super().__init__()
        if dimensions < 1:
            raise ValueError(f"dimensions={dimensions!r}; it must be at least 1.")
        self.dimensions = dimensions
        self.scale = scale
        self.validated = validated

    @torch.no_grad()
    def adapt(self, support: Support) -> SubspaceState:
        """Find the principal directions of each class, and how far to go by them."""
        refuse_non_finite(support.support, "support", support.labels >= 0)  # which eigh would not survive
        state = self._spanned(support)
        if self.validated and support.labels.numel() and int(support.shots.max()) > 2:
            state = state._replace(share=self._share(support))
        return state

    def _spanned(self, support: Support) -> SubspaceState:
        support, means, shots, offset = relative_to_centre(support)
        rows, real = rows_of_classes(support)  # [E, N, K, D], [E, N, K]
        exact = torch.float32 if rows.device.type == "mps" else torch.float64
        rows = torch.where(real.unsqueeze(-1), rows - means.unsqueeze(2), 0).to(exact)
        # The K x K matrix of inner products has the same eigenvalues as the D x D covariance, and is small.
        values, vectors = torch.linalg.eigh(rows @ rows.mT)  # ascending
        # All D directions would leave nothing of any query.
        count = max(1, min(self.dimensions, rows.shape[2] - 1, rows.shape[3] - 1))
        values, vectors = values[..., -count:], vectors[..., -count:]  # [E, N, R], [E, N, K, R]
        rank = torch.arange(count, 0, -1, device=rows.device)  # the largest is number 1
        smallest = torch.finfo(exact).tiny
        kept = (values > 1e-9 * values.amax(-1, keepdim=True).clamp(min=smallest)) & (rank < shots.unsqueeze(-1))
        scale = torch.where(kept, values.clamp(min=smallest).rsqrt(), 0)
        basis = (vectors.mT @ rows) * scale.unsqueeze(-1)  # [E, N, R, D]
        share = means.new_ones(len(means), 1, 1)
        return SubspaceState(means, basis.flatten(1, 2).to(means.dtype), shots == 0, offset, share)

    def _share(self, support: Support) -> Tensor:
        """ω under which held-out examples are likeliest ``[E, 1, 1]``."""
        exact = torch.float32 if support.support.device.type == "mps" else torch.float64
        fold = torch.where(support.labels >= 0, folds_by_value(support, _FOLDS), -1)  # [E, S]
        seen, asked = [], []
        for number in range(_FOLDS):
            held = fold == number
            if not held.any():
                continue
            left = support.replace(labels=torch.where(held, -1, support.labels))
            most = min(int(held.sum(1).max()), max(1, _ASKED // support.way))
            place = held.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]  # [E, R]
            rows = support.support.gather(1, place.unsqueeze(-1).expand(-1, -1, support.support.shape[-1]))
            far, along = _squares(self._spanned(left), rows)  # [E, R, N]
            gone = (left.shots == 0).view(len(held), 1, -1, 1)
            seen.append(torch.stack([-far, along], -1).masked_fill(gone, -torch.inf))
            # A class of which one row remains spans nothing, whatever its subspace is worth.
            own = (support.one_hot * (left.shots > 1).unsqueeze(1)).gather(1, place.unsqueeze(-1).expand_as(far))
            asked.append(own * held.gather(1, place).unsqueeze(-1))
        sharp = sharpness_of_means(support.shots, spread_of_support(support).root.square()).unsqueeze(-1)
        logits, target = (sharp * torch.cat(seen, 1)).to(exact), torch.cat(asked, 1).to(exact)
        weights = weigh_experts(logits, target, (1.0, _BEFORE)).to(sharp)  # [E, 2]
        first, second = weights.split(1, 1)
        return (second / first.clamp(min=torch.finfo(first.dtype).tiny)).clamp(max=1).unsqueeze(-1)

    def predict(self, state: SubspaceState, query: Tensor) -> Tensor:
        """Measure what the subspaces leave of each query."""
        far, along = _squares(state, query)
        return (-self.scale * (far - state.share * along).clamp(min=0)).masked_fill(
            state.absent.unsqueeze(1), -torch.inf
        )

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest subspace, times the scale."""
        return -logits.amax(-1)


def _squares(state: SubspaceState, query: Tensor) -> tuple[Tensor, Tensor]:
    """``|q - μ_n|²`` and how much of it lies along the subspace, both ``[E, Q, N]``."""
    means, basis = state.means, state.basis
    query = shifted(query, state.offset)
    episodes, way, width = means.shape
    squares = query.square().sum(-1, keepdim=True) + means.square().sum(-1).unsqueeze(1)
    far = (squares - 2 * product(query, means.mT)).clamp(min=0)
    directions = basis.view(episodes, way, -1, width)
    centres = (directions * means.unsqueeze(2)).sum(-1).flatten(1)  # [E, N * R]
    along = (product(query, basis.mT) - centres.unsqueeze(1)).view(*query.shape[:2], way, -1)
    return far, along.square().sum(-1)

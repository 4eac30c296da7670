"""Deep subspace networks: the distance to the subspace that a class's examples span."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.linalg import product, rows_of_classes
from fewshot.maths.precision import refuse_non_finite


class SubspaceState(NamedTuple):
    """A point and orthonormal directions of each class."""

    means: Tensor  # [E, N, D]
    basis: Tensor  # [E, N * R, D], rows of zeros where a class has fewer than R directions
    absent: Tensor  # [E, N]
    offset: Tensor  # [E, 1, D] or [E, 1, 1], what the means are relative to


class Subspace(Learner):
    """Classifies by the distance to an affine subspace of each class.

    ``logits = -scale |(I - P_n)(q - μ_n)|²``; P_n projects onto the `dimensions` principal directions of the
    support of class n around its mean. K shots span K - 1 directions at most, so with one shot this is
    `Prototypes`.

    Args:
        dimensions: of a class's subspace at most.
        scale: factor on the logits; it changes probabilities, not predictions.

    Raises:
        ValueError: dimensions is below 1.

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

    def __init__(self, dimensions: int = 4, scale: float = 1.0) -> None:
        super().__init__()
        if dimensions < 1:
            raise ValueError(f"dimensions={dimensions!r}; it must be at least 1.")
        self.dimensions = dimensions
        self.scale = scale

    @torch.no_grad()
    def adapt(self, support: Support) -> SubspaceState:
        """Find the principal directions of each class."""
        refuse_non_finite(support.support, "support", support.labels >= 0)  # which eigh would not survive
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
        return SubspaceState(means, basis.flatten(1, 2).to(means.dtype), shots == 0, offset)

    def predict(self, state: SubspaceState, query: Tensor) -> Tensor:
        """Measure what the subspaces leave of each query."""
        means, basis, absent, offset = state
        query = shifted(query, offset)
        episodes, way, width = means.shape
        squares = query.square().sum(-1, keepdim=True) + means.square().sum(-1).unsqueeze(1)
        far = (squares - 2 * product(query, means.mT)).clamp(min=0)  # [E, Q, N], |q - μ|²
        directions = basis.view(episodes, way, -1, width)
        centres = (directions * means.unsqueeze(2)).sum(-1).flatten(1)  # [E, N * R]
        along = (product(query, basis.mT) - centres.unsqueeze(1)).view(*query.shape[:2], way, -1)
        return (-self.scale * (far - along.square().sum(-1)).clamp(min=0)).masked_fill(absent.unsqueeze(1), -torch.inf)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest subspace, times the scale."""
        return -logits.amax(-1)

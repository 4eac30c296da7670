"""`subspace-alignment`: principal axes of the source turned onto those of the target."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from episodes.episode import Support
from episodes.inputs import check_whole
from fewshot.adaptation.adapter import Ask, DomainAdapter
from fewshot.adaptation.moments import principal, source_of, target_of
from fewshot.learner import State
from fewshot.maths.linalg import product


class Plane(NamedTuple):
    """Where target rows are projected."""

    mean: Tensor  # [E, 1, D]
    axes: Tensor  # [E, d, D]


class SubspaceAlignment(DomainAdapter):
    """Describes rows by d principal axes of the target: ``(x - m_t) P_t``, of the source ``(x - m_s) P_s P_s^T P_t``.

    Args:
        dim: d, at most what the rows of both domains span.

    Raises:
        ValueError: `dim` is no whole number above 0.

    Reference: Fernando, Habrard, Sebban, Tuytelaars, "Unsupervised visual domain adaptation using subspace
    alignment", ICCV 2013.

    Example:
        >>> import torch
        >>> from episodes import EpisodeSampler, load_dataset
        >>> from fewshot import load_learner
        >>> digits = load_dataset("digits")
        >>> episode, targets = EpisodeSampler(digits.labels, way=5, shot=5, query=15).draw(count=20).episode(digits)
        >>> moved = episode.with_query(episode.query + torch.linspace(0, 1, 64))  # other light
        >>> found = [load_learner(spec)(moved).argmax(-1) for spec in ("logistic", "subspace-alignment | logistic")]
        >>> [round((one == targets).float().mean().item(), 1) for one in found]
        [0.7, 0.9]
    """

    name = "subspace-alignment"

    def __init__(self, dim: int = 20) -> None:
        super().__init__()
        self.dim = check_whole("dim", dim)

    def align(self, source: Support, target: Tensor, ask: Ask) -> tuple[Support, State]:
        """Source rows in the target's axes; the state is where target rows are projected."""
        own, other = source_of(source), target_of(target)
        from_axes, to_axes = principal(own)[0][:, : self.dim], principal(other)[0][:, : self.dim]  # [E, d, D]
        projected = product(source.support - own.mean, from_axes.mT)  # [E, S, d]
        turned = product(projected, product(from_axes, to_axes.mT))  # [E, S, d]
        return source.replace(support=turned), Plane(other.mean, to_axes)

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Project target rows ``[E, R, d]``."""
        return product(rows - state.mean, state.axes.mT)

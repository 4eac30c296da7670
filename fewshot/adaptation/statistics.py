"""Adapters that make the means, scales or covariances of both domains alike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.adaptation.adapter import Ask, DomainAdapter
from fewshot.adaptation.moments import shrunk, source_of, target_of
from fewshot.learner import State


class DomainCentre(DomainAdapter):
    """Subtracts from the rows of each domain their own mean: ``x - m_s``, ``x - m_t``.

    The first thing to try: where a domain is a shift of all rows (another camera, another speaker), nothing more is
    needed.

    Example:
        >>> import torch
        >>> from episodes import EpisodeSampler, load_dataset
        >>> from fewshot import load_learner
        >>> digits = load_dataset("digits")
        >>> episode, targets = EpisodeSampler(digits.labels, way=5, shot=5, query=15).draw(count=20).episode(digits)
        >>> moved = episode.with_query(episode.query + torch.linspace(0, 1, 64))  # other light
        >>> found = [load_learner(spec)(moved).argmax(-1) for spec in ("logistic", "domain-centre | logistic")]
        >>> [round((one == targets).float().mean().item(), 1) for one in found]
        [0.7, 0.9]
    """

    name = "domain-centre"

    def align(self, source: Support, target: Tensor, ask: Ask) -> tuple[Support, State]:
        """Centre the source; the state is the target's mean ``[E, 1, D]``."""
        return source.replace(support=source.support - source_of(source).mean), target_of(target).mean

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Subtract the target's mean."""
        return rows - state


class Standard(NamedTuple):
    """Mean and standard deviation of each feature in the target."""

    mean: Tensor  # [E, 1, D]
    scale: Tensor  # [E, 1, D]


class DomainStandardise(DomainAdapter):
    """Brings each feature to mean 0 and variance 1 in each domain by itself: ``(x - m) / s``.

    A feature that is constant in a domain is only centred there.

    Example:
        >>> import torch
        >>> from episodes import EpisodeSampler, load_dataset
        >>> from fewshot import load_learner
        >>> digits = load_dataset("digits")
        >>> episode, targets = EpisodeSampler(digits.labels, way=5, shot=5, query=15).draw(count=20).episode(digits)
        >>> moved = episode.with_query(episode.query + torch.linspace(0, 1, 64))  # other light
        >>> found = [load_learner(spec)(moved).argmax(-1) for spec in ("logistic", "domain-standardise | logistic")]
        >>> [round((one == targets).float().mean().item(), 1) for one in found]
        [0.7, 0.9]
    """

    name = "domain-standardise"

    def align(self, source: Support, target: Tensor, ask: Ask) -> tuple[Support, State]:
        """Standardise the source; the state is the target's mean and scale."""
        own, other = source_of(source), target_of(target)
        support = (source.support - own.mean) / _scale(own.rows, own.total)
        return source.replace(support=support), Standard(other.mean, _scale(other.rows, other.total))

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Standardise target rows."""
        return (rows - state.mean) / state.scale


def _scale(centred: Tensor, count: Tensor) -> Tensor:
    scale = (centred.square().sum(1, keepdim=True) / count).sqrt()  # [E, 1, D]
    largest = scale.amax(-1, keepdim=True)
    return torch.where(scale > 1e-6 * largest, scale, torch.ones_like(scale))


class CORAL(DomainAdapter):
    """Gives source rows the mean and covariance of the target: ``(x - m_s) C_s^(-1/2) C_t^(1/2) + m_t``.

    Args:
        shrinkage: of both covariances towards a multiple of the identity, 0..1 (1: means only are moved), or
            ``"auto"``: by Ledoit and Wolf's formula.

    Raises:
        ValueError: `shrinkage` out of range.

    Reference: Sun, Feng, Saenko, "Return of frustratingly easy domain adaptation", AAAI 2016, arXiv:1511.05547.

    Example:
        >>> import torch
        >>> from episodes import EpisodeSampler, load_dataset
        >>> from fewshot import load_learner
        >>> digits = load_dataset("digits")
        >>> episode, targets = EpisodeSampler(digits.labels, way=5, shot=5, query=15).draw(count=20).episode(digits)
        >>> moved = episode.with_query(episode.query + torch.linspace(0, 1, 64))  # other light
        >>> found = [load_learner(spec)(moved).argmax(-1) for spec in ("logistic", "coral | logistic")]
        >>> [round((one == targets).float().mean().item(), 1) for one in found]
        [0.7, 0.9]
    """

    name = "coral"

    def __init__(self, shrinkage: float | str = "auto") -> None:
        super().__init__()
        if shrinkage != "auto" and not (isinstance(shrinkage, (int, float)) and 0 <= shrinkage <= 1):
            raise ValueError(f"shrinkage={shrinkage!r}; it must be a number 0..1, or 'auto'.")
        self.shrinkage = shrinkage

    def align(self, source: Support, target: Tensor, ask: Ask) -> tuple[Support, State]:
        """Whiten the source, colour it as the target; target rows stay as they are."""
        own, other = source_of(source), target_of(target)
        white = shrunk(own, self.shrinkage).power(source.support - own.mean, -0.5)
        moved = shrunk(other, self.shrinkage).power(white, 0.5) + other.mean
        return source.replace(support=moved), target.new_zeros(len(target))

"""What transductive learners share: the support they keep, and prototypes rectified by the queries."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.centring import relative_to_centre
from fewshot.maths.linalg import class_means, lengths, normalize, product
from fewshot.maths.spread import spread

_SMALLEST = 1e-24


class SupportState(NamedTuple):
    """The support itself, and its class means: the work of a transductive learner waits for the queries."""

    support: Tensor  # [E, S, D]
    one_hot: Tensor  # [E, S, N]
    prototypes: Tensor  # [E, N, D]
    absent: Tensor  # [E, N], True for a class without support
    offset: Tensor  # [E, 1, D] or [E, 1, 1], what has been subtracted from all rows


def keep_support(episode: Support, relative: bool = False) -> SupportState:
    """The state of a learner that adapts to support and queries together.

    Args:
        episode: its support is kept.
        relative: to the common offset of the rows, for learners that see differences of rows only.
    """
    if relative:
        episode, prototypes, shots, offset = relative_to_centre(episode)
    else:
        prototypes, shots = class_means(episode)
        offset = torch.zeros_like(prototypes[:, :1, :1])
    support, known = episode.support, episode.labels >= 0
    # Padding must not reach any sum, and 0 x inf would. Looking for some would stall an accelerator.
    if known.device.type != "cpu" or torch.compiler.is_compiling() or not known.all():
        support = torch.where(known.unsqueeze(-1), support, torch.zeros_like(support))
    return SupportState(support, episode.one_hot, prototypes, shots == 0, offset)


def rescaled(state: SupportState, query: Tensor) -> tuple[SupportState, Tensor]:
    """Support, prototypes and queries of mean square 1 around the mean of the support."""
    known = state.one_hot.any(-1)
    size = spread(state.support, known)
    support = torch.where(known.unsqueeze(-1), size.rescale(state.support), torch.zeros_like(state.support))
    return state._replace(support=support, prototypes=size.rescale(state.prototypes)), size.rescale(query)


class Moved(NamedTuple):
    """Queries moved by one vector per episode, without the moved copy: what is needed of them costs less that way."""

    query: Tensor  # [E, Q, D]
    by: Tensor  # [E, 1, D]
    length: Tensor  # [E, 1, Q], after the move

    def cosines(self, directions: Tensor) -> Tensor:
        """With vectors ``[E, N, D]``: ``[E, N, Q]``; ``(q + b)·d = q·d + b·d``."""
        dots = product(directions, self.query.mT) + product(directions, self.by.mT)
        return dots.div_(lengths(directions)).div_(self.length).clamp_(-1, 1)


def rectify(state: SupportState, query: Tensor, sharpness: float) -> tuple[Tensor, Moved, Tensor]:
    """Prototypes as weighted means of the support and of the queries that are nearest to them.

    Queries are moved first, so that their mean is that of the support. A row of class n (a query: of the class whose
    prototype has the largest cosine) weighs ``exp(sharpness cos(x, p_n))``. So a class always keeps its support,
    whether or not a query joins.

    Returns:
        The prototypes ``[E, N, D]``, the moved queries, and the lengths of those that came ``[E, 1, Q]``.
    """
    prototypes, shots = normalize(state.prototypes), state.one_hot.sum(1, keepdim=True)  # [E, N, D], [E, 1, N]
    mean = product(shots / shots.sum(-1, keepdim=True).clamp(min=1), state.prototypes)  # [E, 1, D], of the support
    by = mean - query.mean(1, keepdim=True)
    before = torch.linalg.vector_norm(query, dim=-1).unsqueeze(1)  # [E, 1, Q]
    dots = product(torch.cat([prototypes, by], 1), query.mT)  # [E, N + 1, Q]: |q + b|² = |q|² + 2 q·b + |b|²
    squares = before.square() + 2 * dots[:, -1:] + by.square().sum(-1, keepdim=True)
    moved = Moved(query, by, squares.clamp(min=_SMALLEST).sqrt())
    cosines = ((dots[:, :-1] + product(prototypes, by.mT)) / moved.length).clamp(-1, 1)  # [E, N, Q]
    cosines = cosines.masked_fill(state.absent.unsqueeze(-1), -torch.inf)
    largest, nearest = cosines.max(1, keepdim=True)  # [E, 1, Q]
    # Cosines are at most 1, so nothing overflows.
    joined = torch.zeros_like(cosines).scatter_(1, nearest, (sharpness * (largest - 1)).exp())  # [E, N, Q]
    own = product(prototypes, state.support.mT) / lengths(state.support).mT  # [E, N, S]
    known = state.one_hot.mT * (sharpness * (own - 1)).exp()
    share = joined.sum(-1, keepdim=True)  # [E, N, 1]
    total = (known.sum(-1, keepdim=True) + share).clamp(min=torch.finfo(known.dtype).tiny)
    sums = product(known, state.support) + product(joined, query) + share * by
    return sums / total, moved, before.clamp(min=_SMALLEST**0.5)

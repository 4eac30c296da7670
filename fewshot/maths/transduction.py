"""What transductive learners share: the support they keep, and prototypes rectified by the queries."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.centring import relative_to_centre
from fewshot.maths.linalg import class_means, normalize, product
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
    one_hot = episode.one_hot
    # Padding must not reach any sum, and 0 x inf would.
    support = torch.where(one_hot.any(-1, keepdim=True), episode.support, torch.zeros_like(episode.support))
    return SupportState(support, one_hot, prototypes, shots == 0, offset)


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
    squares: Tensor  # [E, Q, 1], |q|² before the move

    def cosines(self, directions: Tensor) -> Tensor:
        """With unit vectors ``[E, N, D]``: ``[E, Q, N]``; ``(q + b)·d = q·d + b·d``."""
        dots = product(self.query, torch.cat([directions, self.by], 1).mT)  # [E, Q, N + 1]
        squares = self.squares + 2 * dots[..., -1:] + self.by.square().sum(-1, keepdim=True)
        length = squares.clamp(min=_SMALLEST).sqrt()  # [E, Q, 1]
        return ((dots[..., :-1] + product(self.by, directions.mT)) / length).clamp(-1, 1)


def shift(state: SupportState, query: Tensor) -> Moved:
    """Queries moved so that their mean is that of the support."""
    known = state.one_hot.sum(-1, keepdim=True)  # [E, S, 1]
    mean = (state.support * known).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)  # [E, 1, D]
    squares = torch.linalg.vector_norm(query, dim=-1, keepdim=True).square()
    return Moved(query, mean - query.mean(1, keepdim=True), squares)


def rectify(state: SupportState, moved: Moved, sharpness: float) -> Tensor:
    """Prototypes as weighted means of the support and of the queries that are nearest to them ``[E, N, D]``.

    A row of class n (a query: of the class whose prototype has the largest cosine) weighs
    ``exp(sharpness cos(x, p_n))``. So a class always keeps its support, whether or not a query joins.
    """
    prototypes = normalize(state.prototypes, dim=-1)  # [E, N, D]
    support = product(normalize(state.support, dim=-1), prototypes.mT)  # [E, S, N]
    query = moved.cosines(prototypes).masked_fill(state.absent.unsqueeze(1), -torch.inf)  # [E, Q, N]
    members = torch.zeros_like(query).scatter_(-1, query.argmax(-1, keepdim=True), 1.0)
    known = state.one_hot * (sharpness * (support - 1)).exp()  # cosines are at most 1, so nothing overflows
    joined = members * (sharpness * (query - 1)).exp()
    share = joined.sum(1).unsqueeze(-1)  # [E, N, 1]
    total = (known.sum(1).unsqueeze(-1) + share).clamp(min=torch.finfo(known.dtype).tiny)
    return (product(known.mT, state.support) + product(joined.mT, moved.query) + share * moved.by) / total

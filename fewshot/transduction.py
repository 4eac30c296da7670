"""What transductive learners share: the support they keep, and prototypes rectified by the queries."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from episodes.episode import Episode
from fewshot.linalg import class_means, product


class SupportState(NamedTuple):
    """The support itself, and its class means: the work of a transductive learner waits for the queries."""

    support: Tensor  # [E, S, D]
    one_hot: Tensor  # [E, S, N]
    prototypes: Tensor  # [E, N, D]
    absent: Tensor  # [E, N], True for a class without support


def keep_support(episode: Episode) -> SupportState:
    """The state of a learner that adapts to support and queries together."""
    prototypes, shots = class_means(episode)
    one_hot = episode.one_hot
    # Padding must not reach any sum, and 0 x inf would.
    support = torch.where(one_hot.any(-1, keepdim=True), episode.support, torch.zeros_like(episode.support))
    return SupportState(support, one_hot, prototypes, shots == 0)


def shift(state: SupportState, query: Tensor) -> Tensor:
    """Queries moved so that their mean is that of the support ``[E, Q, D]``."""
    known = state.one_hot.sum(-1, keepdim=True)  # [E, S, 1]
    mean = (state.support * known).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)  # [E, 1, D]
    return query + (mean - query.mean(1, keepdim=True))


def rectify(state: SupportState, shifted: Tensor, sharpness: float) -> Tensor:
    """Prototypes as weighted means of the support and of the queries that are nearest to them ``[E, N, D]``.

    A row of class n (a query: of the class whose prototype has the largest cosine) weighs
    ``exp(sharpness cos(x, p_n))``. So a class always keeps its support, whether or not a query joins.
    """
    prototypes = normalize(state.prototypes, dim=-1).mT  # [E, D, N]
    support = product(normalize(state.support, dim=-1), prototypes)  # [E, S, N]
    query = product(normalize(shifted, dim=-1), prototypes)  # [E, Q, N]
    query = query.masked_fill(state.absent.unsqueeze(1), -torch.inf)
    members = torch.zeros_like(query).scatter_(-1, query.argmax(-1, keepdim=True), 1.0)
    weights = torch.cat([
        state.one_hot * (sharpness * (support - 1)).exp(),  # cosines are at most 1, so nothing overflows
        members * (sharpness * (query - 1)).exp(),
    ], 1)  # fmt: skip
    weights = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    return product(weights.mT, torch.cat([state.support, shifted], 1))

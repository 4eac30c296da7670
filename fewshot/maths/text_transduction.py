"""What TransCLIP and StatA share: assignments that follow the words, a mixture of Gaussians, and near neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.maths.linalg import product

_SHARPEST = 50.0  # the likelihood and the sum over neighbours are softened by this factor, as published
NEIGHBOUR_WEIGHT = _SHARPEST / 6  # of the sum over neighbours


def neighbour_graph(rows: Tensor, real: Tensor, count: int) -> Tensor:
    """Cosines to each row's nearest others, symmetric by summing both ways ``[E, R, R]``."""
    among = product(rows, rows.mT).masked_fill(~(real.unsqueeze(1) & real.unsqueeze(2)), 0.0)
    among.diagonal(dim1=1, dim2=2).fill_(0.0)
    kept = among.clamp(min=0).topk(min(count, rows.shape[1]), -1)
    edges = torch.zeros_like(among).scatter_(-1, kept.indices, kept.values)
    return edges + edges.mT


def log_likelihood(rows: Tensor, means: Tensor, variance: Tensor) -> Tensor:
    """``-½ Σ_d (x - μ)² / σ²`` of diagonal Gaussians: ``[E, R, D], [E, N, D], [E, N, D] -> [E, R, N]``."""
    inverse = 1 / variance
    squares = product(rows.square(), inverse.mT) - 2 * product(rows, (means * inverse).mT)
    return -0.5 * (squares + (means.square() * inverse).sum(-1).unsqueeze(1))


def assign(likelihood: Tensor, prior: Tensor, graph: Tensor, start: Tensor, steps: int) -> Tensor:
    """Log of the assignments ``z_i ∝ prior_i exp((likelihood_i + Σ_j W_ij z_j) / 50)``, a few times over ``[E, R, N]``.

    The neighbours count 50 / 6 as in the paper's code. `prior` is in logarithms, already weighted.
    """
    z, logits = start, prior
    for _ in range(steps):
        neighbours = NEIGHBOUR_WEIGHT * product(graph, z)
        logits = prior + (likelihood + neighbours) / _SHARPEST
        z = logits.softmax(-1)
    return logits.log_softmax(-1)

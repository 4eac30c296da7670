"""ConSE: any classifier and any text encoder, no training."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.maths.linalg import normalize


def conse(probabilities: Tensor, known: Tensor, wanted: Tensor, top: int = 10) -> Tensor:
    """Scores of unseen classes by a mixture of the seen ones that a classifier believes in ``[M, C]``.

    ``f(x) = Σ_j p_j e_j / Σ_j p_j`` over the `top` most probable classes j; the score is ``cos(f(x), e_c)``.

    Args:
        probabilities: of the classifier's own classes ``[M, K]``.
        known: text vectors of those classes ``[K, D]``.
        wanted: text vectors of the classes to score ``[C, D]``.
        top: how many are mixed.

    Raises:
        ValueError: shapes disagree, or `top` is below 1.

    Reference: Norouzi et al., "Zero-shot learning by convex combination of semantic embeddings", ICLR 2014,
    arXiv:1312.5650.

    >>> conse(torch.tensor([[0.9, 0.1]]), torch.eye(2), torch.tensor([[1.0, 0.2], [0.0, 1.0]])).argmax(1)
    tensor([0])
    """
    if probabilities.shape[1] != len(known) or known.shape[1] != wanted.shape[1] or top < 1:
        raise ValueError(
            f"probabilities are {list(probabilities.shape)}, known {list(known.shape)}, wanted {list(wanted.shape)}, "
            f"top={top}; they must be [M, K], [K, D], [C, D], and at least 1."
        )
    share, index = probabilities.topk(min(top, len(known)), 1)  # [M, top]
    weights = torch.zeros_like(probabilities).scatter_(1, index, share)
    mixed = weights / share.sum(1, keepdim=True).clamp(min=1e-12) @ normalize(known, dim=-1).to(weights)
    return normalize(mixed, dim=-1) @ normalize(wanted, dim=-1).to(weights).T

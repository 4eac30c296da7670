"""Prototypical networks: the nearest class mean."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.linalg import class_means, lengths, normalize, product


class PrototypesState(NamedTuple):
    """Class means, the part of the logits that does not depend on the query, and what rows are relative to."""

    prototypes: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]
    offset: Tensor  # [E, 1, D] or [E, 1, 1]


class Prototypes(Learner):
    """Classifies by the nearest class mean of the support.

    ``p_n = mean of the support rows of class n``; then ``logits = -scale |q - p_n|²`` (up to ``|q|²``,
    which no softmax sees), or ``scale cos(q, p_n)`` where also the support rows are normalised first.

    Args:
        distance: ``"euclidean"`` (the paper's squared distance) or ``"cosine"``.
        scale: factor on the logits; it changes probabilities, not predictions.

    Reference: Snell, Swersky, Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017,
    arXiv:1703.05175.

    Example:
        >>> from fewshot import load_learner
        >>> episode = Episode(torch.eye(2)[None], torch.tensor([[0, 1]]), torch.tensor([[[0.9, 0.1]]]), way=2)
        >>> load_learner("prototypes")(episode).argmax(-1)
        tensor([[0]])
    """

    name: ClassVar[str] = "prototypes"
    weighted = True

    def __init__(self, distance: str = "euclidean", scale: float = 1.0) -> None:
        super().__init__()
        if distance not in ("euclidean", "cosine"):
            raise ValueError(f"distance={distance!r}; it must be 'euclidean' or 'cosine'.")
        self.distance = distance
        self.scale = scale
        self.invariant = ("scale",) if distance == "cosine" else ("offset", "scale")

    def adapt(self, support: Support) -> PrototypesState:
        """Average the support of each class."""
        if self.distance == "cosine":
            prototypes, shots = class_means(support.replace(support=normalize(support.support, dim=-1)))
            prototypes = normalize(prototypes, dim=-1)  # [E, N, D]
            offset = torch.zeros_like(prototypes[:, :1, :1])
            bias = torch.zeros_like(shots)  # [E, N]
        else:
            _, prototypes, shots, offset = relative_to_centre(support)
            bias = -self.scale * prototypes.square().sum(-1)
        return PrototypesState(prototypes, bias.masked_fill(shots == 0, -torch.inf), offset)

    def predict(self, state: PrototypesState, query: Tensor) -> Tensor:
        """Score the queries against the class means."""
        if self.distance == "cosine":  # divided by the length afterwards: a pass over [E, Q, N], not over [E, Q, D]
            scale, inner = self.scale, product(query, state.prototypes.mT) / lengths(query)  # [E, Q, N]
        else:
            scale, inner = 2 * self.scale, product(shifted(query, state.offset), state.prototypes.mT)
        return torch.add(state.bias.unsqueeze(1), inner, alpha=scale)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The distance to the nearest class mean (squared, or minus the cosine), times the scale."""
        if self.distance == "cosine":
            return -logits.amax(-1)
        query = shifted(episode.query, relative_to_centre(episode).offset)
        return self.scale * query.square().sum(-1) - logits.amax(-1)  # the logits leave |q|² out

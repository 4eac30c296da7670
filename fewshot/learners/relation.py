"""Relation networks: a learned comparison instead of a distance."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.learner import State as State
from fewshot.maths.linalg import class_means


class Relation(Learner):
    """Compares each query with each class mean by a small network: ``logits = scale g([q, p_n, q p_n, |q - p_n|])``.

    g is a perceptron with one hidden layer. The paper's sees maps of pictures side by side and is trained by squared
    error; this one sees features, with their product and distance as further inputs, so it serves any encoder, and is
    trained by cross-entropy as everything here. Untrained it is a guess; put an encoder in front: ``conv4 | relation``.

    Args:
        dim: features of a row.
        hidden: width of the hidden layer.
        scale: factor on the logits.

    Raises:
        ValueError: a size that is not positive, or rows of another width than `dim`.

    Reference: Sung, Yang, Zhang, Xiang, Torr, Hospedales, "Learning to compare: relation network for few-shot
    learning", CVPR 2018, arXiv:1711.06025.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> trained = meta_train("relation", digits, sampler, steps=20, lr=0.01, progress=False).learner
        >>> round(evaluate({"relation": trained}, digits, sampler, episodes=20)["relation"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "relation"
    untrained: ClassVar[dict[str, str]] = {
        name: "Untrained comparisons say nothing about classes."
        for name in ("learns_separable_classes", "one_shot", "unequal_shots", "unlabelled_rows_are_accepted")
    }

    def __init__(self, dim: int = 64, hidden: int = 64, scale: float = 10.0) -> None:
        super().__init__()
        if min(dim, hidden) < 1 or scale <= 0:
            raise ValueError(f"dim={dim}, hidden={hidden}, scale={scale}; all must be positive.")
        self.dim, self.hidden, self.scale = dim, hidden, scale
        self.item_shape = (dim,)
        self.compare = nn.Sequential(nn.Linear(4 * dim, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def adapt(self, support: Support) -> State:
        """Average the support of each class."""
        if support.support.shape[-1] != self.dim:
            width = support.support.shape[-1]
            raise ValueError(f"rows have {width} features; write relation(dim={width}).")
        means, shots = class_means(support)
        return means, shots == 0  # [E, N, D], [E, N]

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Compare every query with every class."""
        means, absent = state
        left, right = torch.broadcast_tensors(query.unsqueeze(2), means.unsqueeze(1))  # [E, Q, N, D]
        pairs = torch.cat([left, right, left * right, (left - right).abs()], -1)
        return (self.scale * self.compare(pairs).squeeze(-1)).masked_fill(absent.unsqueeze(1), -torch.inf)

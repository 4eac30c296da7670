"""FEAT: self-attention among class means."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.learner import State as State
from fewshot.maths.linalg import class_means, product


class FEAT(Learner):
    """Adapts the class means of an episode to one another by self-attention, then takes the nearest.

    ``p' = p + W_o softmax(p W_q (p W_k)ᵀ / √D) p W_v`` over the classes of the episode, brought back to the length of
    p; ``logits = -scale |q - p'_n|²`` (up to ``|q|²``). The output matrix begins near zero, so untrained it is almost
    the nearest class mean. On cached features it trains in seconds. (The paper ends in a layer norm and trains with a
    further contrastive loss.)

    Args:
        dim: features of a row.
        scale: factor on the logits.

    Raises:
        ValueError: a size that is not positive, or rows of another width than `dim`.

    Reference: Ye, Hu, Zhan, Sha, "Few-shot learning via embedding adaptation with set-to-set functions", CVPR 2020,
    arXiv:1812.03664.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> trained = meta_train("feat", digits, sampler, steps=20, lr=0.01, progress=False).learner
        >>> round(evaluate({"feat": trained}, digits, sampler, episodes=20)["feat"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "feat"

    def __init__(self, dim: int = 64, scale: float = 1.0) -> None:
        super().__init__()
        if dim < 1 or scale <= 0:
            raise ValueError(f"dim={dim}, scale={scale}; both must be positive.")
        self.dim, self.scale = dim, scale
        self.item_shape = (dim,)
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.out = nn.Linear(dim, dim, bias=False)
        nn.init.normal_(self.out.weight, std=0.01 / dim**0.5)

    def adapt(self, support: Support) -> State:
        """Average the support, and let the means attend to one another."""
        if support.support.shape[-1] != self.dim:
            width = support.support.shape[-1]
            raise ValueError(f"rows have {width} features; write feat(dim={width}).")
        means, shots = class_means(support)  # [E, N, D]
        absent = shots == 0
        attention = self.query(means) @ self.key(means).mT / self.dim**0.5  # [E, N, N]
        weights = attention.masked_fill(absent.unsqueeze(1), -1e9).softmax(-1)
        changed = means + self.out(weights @ self.value(means))
        length = means.norm(dim=-1, keepdim=True)
        # As long as it was: a layer norm would forget how far from zero the features lie.
        return F.normalize(changed, dim=-1) * length, absent

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Score the queries against the adapted means."""
        means, absent = state
        logits = self.scale * (2 * product(query, means.mT) - means.square().sum(-1).unsqueeze(1))
        return logits.masked_fill(absent.unsqueeze(1), -torch.inf)

"""Tip-Adapter: zero-shot, and a vote of the support rows near the query."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.learner import Learner
from fewshot.maths.text_head import TextState, cosines, read_text, without


class TipAdapter(Learner):
    """Adds to the zero-shot logits what support rows near the query say; nothing is trained.

    ``logits = scale cos(q, t_n) + alpha Σ_s exp(-beta (1 - cos(q, x_s))) [y_s = n]``. Without support it is
    zero-shot. The defaults need no validation data, which the paper's search over both numbers does.

    Args:
        alpha: weight of the support.
        beta: how near a row must be to be heard.
        scale: factor on text cosines; that of the model.

    Raises:
        ValueError: a number out of range.

    Reference: Zhang et al., "Tip-Adapter: training-free adaption of CLIP for few-shot classification", ECCV 2022,
    arXiv:2207.09519.
    """

    name: ClassVar[str] = "tip-adapter"
    needs = ("support", "text")
    invariant = ("scale",)

    def __init__(self, alpha: float = 1.0, beta: float = 5.5, scale: float = 100.0) -> None:
        super().__init__()
        if alpha < 0 or beta <= 0 or scale <= 0:
            raise ValueError(f"alpha={alpha}, beta={beta}, scale={scale}; alpha at least 0, the others positive.")
        self.alpha = alpha
        self.beta = beta
        self.scale = scale

    def adapt(self, episode: Episode) -> TextState:
        """Normalise support and text."""
        return read_text(episode)

    def predict(self, state: TextState, query: Tensor) -> Tensor:
        """Zero-shot logits and votes."""
        logits = self.scale * cosines(query, state.text)  # [E, Q, N]
        if state.support.shape[1]:
            near = torch.exp(-self.beta * (1 - cosines(query, state.support)))  # [E, Q, S]
            logits = logits + self.alpha * near @ state.one_hot
        return without(logits, state.absent)

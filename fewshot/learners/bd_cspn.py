"""BD-CSPN: prototypes rectified by shifted queries and their pseudo-labels."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.transduction import Moved, SupportState, keep_support, rectify


class BDCSPN(Learner):
    """Moves the queries onto the support, labels them by cosine, and averages both into new prototypes.

    ``q' = q + mean(support) - mean(queries)``; each q' joins the class n whose prototype has the largest
    cosine; ``p'_n = Σ w x / Σ w`` over the support of n and the queries that joined, with
    ``w = exp(sharpness cos(x, p_n))``; then ``logits = scale cos(q', p'_n)``.

    The paper calls it prototype rectification. The shift assumes that support and queries hold the same classes
    in about the same shares. It holds on features of any size; where base data is at hand, centred by it
    (``cl2n | bd-cspn``), and not by the few rows of a support alone, which does more harm than good.

    Args:
        sharpness: how much rows near their prototype count for more (the paper's ε).
        scale: factor on the logits; it changes probabilities, not predictions.
        shift_logits: score the moved queries, as the paper does; False: the queries as they came.

    Reference: Liu, Song, Qin, "Prototype rectification for few-shot learning", ECCV 2020, arXiv:1911.10713.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=1, query=15)
        >>> results = evaluate(["prototypes", "bd-cspn"], digits, sampler, episodes=20)
        >>> round(results["prototypes"].mean, 1), round(results["bd-cspn"].mean, 1)
        (0.7, 0.8)
    """

    name: ClassVar[str] = "bd-cspn"
    invariant = ("scale",)
    transductive = True

    def __init__(self, sharpness: float = 10.0, scale: float = 10.0, shift_logits: bool = True) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.scale = scale
        self.shift_logits = shift_logits

    def adapt(self, support: Support) -> SupportState:
        """Keep the support."""
        return keep_support(support)

    def predict(self, state: SupportState, query: Tensor) -> Tensor:
        """Rectify the prototypes by the queries, then score them."""
        prototypes, moved, length = rectify(state, query, self.sharpness)
        if not self.shift_logits:
            moved = Moved(query, torch.zeros_like(moved.by), length)
        logits = self.scale * moved.cosines(prototypes)  # [E, N, Q]
        return logits.masked_fill_(state.absent.unsqueeze(-1), -torch.inf).mT

"""Tip-Adapter-F: Tip-Adapter whose support keys are tuned."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.linalg import product
from fewshot.maths.prototype_head import cross_entropy_gradient
from fewshot.maths.text_head import Stepper, TextDescent, TextState, cosines, read_text, without


class TipAdapterF(Learner):
    """`TipAdapter` with keys k_s, which begin as the support rows and minimise its cross-entropy.

    ``logits = scale cos(q, t_n) + alpha Σ_s exp(-beta (1 - q·k_s)) [y_s = n]``; Adam, rate falling along a cosine.
    The last keys are taken: choosing the best epoch on test data, as the released script does, is not learning.

    Args:
        alpha: weight of the support.
        beta: how near a row must be to be heard.
        steps: over the whole support.
        rate: of Adam.
        scale: factor on text cosines; that of the model.

    Raises:
        ValueError: a number out of range.

    Reference: Zhang et al., "Tip-Adapter: training-free adaption of CLIP for few-shot classification", ECCV 2022,
    arXiv:2207.09519.
    """

    name: ClassVar[str] = "tip-adapter-f"
    needs = ("support", "text")
    invariant = ("scale",)

    def __init__(
        self, alpha: float = 1.0, beta: float = 5.5, steps: int = 20, rate: float = 1e-3, scale: float = 100.0
    ) -> None:
        super().__init__()
        if alpha < 0 or beta <= 0 or scale <= 0:
            raise ValueError(f"alpha={alpha}, beta={beta}, scale={scale}; alpha at least 0, the others positive.")
        TextDescent(steps, rate, "adam").check()
        self.alpha = alpha
        self.beta = beta
        self.steps = steps
        self.rate = rate
        self.scale = scale

    @torch.no_grad()
    def adapt(self, episode: Support) -> TextState:
        """Tune the keys."""
        known = read_text(episode)
        keys, rows, one_hot = known.support.clone(), known.support, known.one_hot
        if not keys.shape[1]:
            return known
        fixed = without(self.scale * product(rows, known.text.mT), known.absent)  # [E, S, N]
        stepper = Stepper(keys, TextDescent(self.steps, self.rate, "adam"))
        for _ in range(self.steps):
            near = self._near(product(rows, keys.mT))  # [E, S, S]
            error = cross_entropy_gradient((fixed + self.alpha * near @ one_hot).softmax(-1), one_hot)
            of_near = self.alpha * error @ one_hot.mT * self.beta * near  # [E, S, S]
            stepper.step(keys, product(of_near.mT, rows))
        return known._replace(support=keys)

    def predict(self, state: TextState, query: Tensor) -> Tensor:
        """Zero-shot logits and votes of the keys."""
        logits = self.scale * cosines(query, state.text)  # [E, Q, N]
        if state.support.shape[1]:
            logits = logits + self.alpha * self._near(cosines(query, state.support)) @ state.one_hot
        return without(logits, state.absent)

    def _near(self, cosine: Tensor) -> Tensor:
        return torch.exp(-self.beta * (1 - cosine))

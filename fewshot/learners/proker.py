"""ProKeR: kernel ridge regression of what zero-shot gets wrong."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.learner import Learner
from fewshot.maths.linalg import product
from fewshot.maths.text_head import cosines, read_text, without


class ProKeRState(NamedTuple):
    """Support, text, and the correction that each support row carries."""

    support: Tensor  # [E, S, D]
    text: Tensor  # [E, N, D]
    absent: Tensor  # [E, N]
    correction: Tensor  # [E, S, N]


class ProKeR(Learner):
    """Corrects zero-shot probabilities by kernel ridge regression on the support, in closed form.

    ``f(q) = p(q) + Σ_s k(q, x_s) γ_s``, ``γ = (K + I / strength)⁻¹ (Y - p(X))``, with
    ``k(a, b) = exp(-beta (1 - cos(a, b)))`` and p the zero-shot softmax: the zero-shot classifier is the prior
    that the regression falls back on away from the support. ``logits = sharpness f``. The paper's code regresses
    on cosines instead of probabilities; with these no number needs to be found on validation data.

    Args:
        beta: of the kernel.
        strength: how much the support is believed (λ).
        scale: factor on text cosines; that of the model.
        sharpness: of the logits; it changes probabilities, not predictions.

    Raises:
        ValueError: a number that is not positive.

    Reference: Bendou, Ouasfi, Gripon, Boukhayma, "ProKeR: a kernel perspective on few-shot adaptation of large
    vision-language models", CVPR 2025, arXiv:2501.11175.
    """

    name: ClassVar[str] = "proker"
    needs = ("support", "text")
    invariant = ("scale",)

    def __init__(self, beta: float = 5.0, strength: float = 1.0, scale: float = 100.0, sharpness: float = 10.0) -> None:
        super().__init__()
        if min(beta, strength, scale, sharpness) <= 0:
            raise ValueError(
                f"beta={beta}, strength={strength}, scale={scale}, sharpness={sharpness}; all must be positive."
            )
        self.beta = beta
        self.strength = strength
        self.scale = scale
        self.sharpness = sharpness

    def adapt(self, episode: Episode) -> ProKeRState:
        """Solve for the corrections, S equations per episode."""
        known = read_text(episode)
        rows, one_hot = known.support, known.one_hot
        mask = one_hot.sum(-1, keepdim=True)  # [E, S, 1]
        kernel = self._kernel(product(rows, rows.mT)) * mask * mask.mT
        kernel = kernel + torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device) / self.strength
        prior = without(self.scale * product(rows, known.text.mT), known.absent).softmax(-1)
        wrong = (one_hot - prior) * mask  # [E, S, N]
        factor = torch.linalg.cholesky_ex(kernel).L
        return ProKeRState(rows, known.text, known.absent, torch.cholesky_solve(wrong, factor))

    def predict(self, state: ProKeRState, query: Tensor) -> Tensor:
        """Prior and correction."""
        prior = without(self.scale * cosines(query, state.text), state.absent).softmax(-1)  # [E, Q, N]
        if state.support.shape[1]:
            prior = prior + self._kernel(cosines(query, state.support)) @ state.correction
        return without(self.sharpness * prior, state.absent)

    def _kernel(self, cosine: Tensor) -> Tensor:
        return torch.exp(-self.beta * (1 - cosine))

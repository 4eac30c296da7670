"""ProKeR: kernel ridge regression of what zero-shot gets wrong."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.beside_words import BesideWords, check_words
from fewshot.maths.linalg import product
from fewshot.maths.spread import AUTO, check_auto
from fewshot.maths.text_head import cosines, fitted_scale, read_text, spread_of_rows, without

_AUTO = 2.0  # chosen by benchmarks/defaults.py


class ProKeRState(NamedTuple):
    """Support, text, and the correction that each support row carries."""

    support: Tensor  # [E, S, D]
    text: Tensor  # [E, N, D]
    absent: Tensor  # [E, N]
    correction: Tensor  # [E, S, N]
    beta: Tensor  # [E, 1, 1]
    scale: Tensor  # [E, 1, 1]


class ProKeR(BesideWords):
    """Corrects zero-shot probabilities by kernel ridge regression on the support, in closed form.

    ``f(q) = p(q) + Σ_s k(q, x_s) γ_s``, ``γ = (K + I / strength)⁻¹ (Y - p(X))``, with
    ``k(a, b) = exp(-beta (1 - cos(a, b)))`` and p the zero-shot softmax: the zero-shot classifier is the prior
    that the regression falls back on away from the support. ``logits = sharpness f``. The paper's code regresses
    on cosines instead of probabilities; with these no number needs to be found on validation data.

    On texts the method alone stays up to 3 points below class means or zero-shot, so both are asked as well, and
    weighed by rows that are held out (`BesideWords`).

    Args:
        beta: of the kernel; ``"auto"``: 2 divided by the mean square distance of the support rows, of length one, from
            their mean, so that near and far mean the same in every encoder's space.
        strength: how much the support is believed (λ).
        scale: factor on text cosines, that of the model; ``"auto"``: the one, 100 or less, that makes the labels of the
            support likeliest, as encoders of sentences have none.
        sharpness: of the logits; it changes probabilities, not predictions.
        words: weight of the words at one row a class, before any is held out; 0: words and class means are not asked.

    Raises:
        ValueError: a number that is not positive.

    The method alone: ``proker(words=0.0)``; for CLIP: ``proker(beta=5.0, strength=1.0, scale=100.0, words=0.0)``.

    Reference: Bendou, Ouasfi, Gripon, Boukhayma, "ProKeR: a kernel perspective on few-shot adaptation of large
    vision-language models", CVPR 2025, arXiv:2501.11175.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> ProKeR()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "proker"
    needs = ("support", "text")
    invariant = ("scale",)

    def __init__(
        self,
        beta: float | str = AUTO,
        strength: float = 10.0,
        scale: float | str = AUTO,
        sharpness: float = 10.0,
        words: float = 1.0,
    ) -> None:
        super().__init__()
        check_words(words)
        check_auto("beta", beta)
        check_auto("scale", scale)
        if min(strength, sharpness) <= 0:
            raise ValueError(f"strength={strength}, sharpness={sharpness}; both must be positive.")
        self.beta = beta
        self.strength = strength
        self.scale = scale
        self.sharpness = sharpness
        self.words = words

    def adapt_alone(self, episode: Support) -> ProKeRState:
        """Solve for the corrections, S equations per episode."""
        known = read_text(episode)
        rows, one_hot = known.support, known.one_hot
        mask = one_hot.sum(-1, keepdim=True)  # [E, S, 1]
        unit = rows.new_ones(len(rows), 1, 1)
        beta = _AUTO / spread_of_rows(known) if isinstance(self.beta, str) else self.beta * unit
        scale = fitted_scale(known) if isinstance(self.scale, str) else self.scale * unit
        kernel = _kernel(product(rows, rows.mT), beta) * mask * mask.mT
        kernel = kernel + torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device) / self.strength
        prior = without(scale * product(rows, known.text.mT), known.absent).softmax(-1)
        wrong = (one_hot - prior) * mask  # [E, S, N]
        factor = torch.linalg.cholesky_ex(kernel).L
        return ProKeRState(rows, known.text, known.absent, torch.cholesky_solve(wrong, factor), beta, scale)

    def predict_alone(self, state: ProKeRState, query: Tensor) -> Tensor:
        """Prior and correction."""
        prior = without(state.scale * cosines(query, state.text), state.absent).softmax(-1)  # [E, Q, N]
        if state.support.shape[1]:
            prior = prior + _kernel(cosines(query, state.support), state.beta) @ state.correction
        return without(self.sharpness * prior, state.absent)


def _kernel(cosine: Tensor, beta: Tensor) -> Tensor:
    return torch.exp(-beta * (1 - cosine))

"""LP++: a linear probe that learns how much to listen to the words, class by class."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.beside_words import BesideWords, check_words
from fewshot.maths.linalg import normalize, product
from fewshot.maths.precision import refuse_non_finite
from fewshot.maths.prototype_head import cross_entropy_terms
from fewshot.maths.spread import check_auto
from fewshot.maths.text_head import cosines, fitted_scale, read_text, without

_EVERY = 10  # steps of W between two of alpha


class LPPlusPlusState(NamedTuple):
    """A linear classifier, and the weight of each class's words."""

    weight: Tensor  # [E, N, D]
    text: Tensor  # [E, N, D]
    alpha: Tensor  # [E, N]
    absent: Tensor  # [E, N]


class LPPlusPlus(BesideWords):
    """Learns ``logits_n = q·w_n + alpha_n cos(q, t_n)`` on the support, with step sizes that the data give.

    W begins as the sum of each class's rows, alpha as ``250 mean cos(x, t_y)`` (see `start`); full-batch descent
    with momentum 0.9 at rate ``4 S / λ_max(X Xᵀ)`` on W and, every 10 steps, at ``S / (4 max_n Σ_s cos(x_s, t_n)²)`` on
    alpha: bounds of the curvature, so no rate is searched for. The last step is taken. Below four shots the published
    results fall under those of zero-shot away from natural images; without support it is zero-shot.

    On texts the method alone stays up to 9 points below class means or zero-shot, so both are asked as well, and
    weighed by rows that are held out (`BesideWords`).

    Args:
        steps: of the descent.
        start: alpha's beginning, in units of the mean cosine; ``"auto"``: alpha begins as the factor on text cosines,
            100 or less, that makes the labels of the support likeliest, as encoders of sentences have none.
        scale: factor on text cosines where there is no support; that of the model.
        words: weight of the words at one row a class, before any is held out; 0: words and class means are not asked.

    Raises:
        ValueError: a number out of range.

    The paper's setting: ``lp++(words=0.0)``.

    Reference: Huang, Shakeri, Dolz, Boudiaf, Bahig, Ben Ayed, "LP++: a surprisingly strong linear probe for
    few-shot CLIP", CVPR 2024, arXiv:2404.02285.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> LPPlusPlus()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "lp++"
    needs = ("support", "text")
    invariant = ("scale",)

    def __init__(self, steps: int = 300, start: float | str = 250.0, scale: float = 100.0, words: float = 3.0) -> None:
        super().__init__()
        check_words(words)
        check_auto("start", start)
        if steps < 1 or scale <= 0:
            raise ValueError(f"steps={steps}, scale={scale}; steps must be at least 1, the scale positive.")
        self.steps = steps
        self.start = start
        self.scale = scale
        self.words = words

    @torch.no_grad()
    def adapt_alone(self, episode: Support) -> LPPlusPlusState:
        """Descend on W and alpha."""
        refuse_non_finite(episode.support, "support", episode.labels >= 0)  # which eigvalsh would not survive
        known = read_text(episode)
        rows, one_hot, text = known.support, known.one_hot, known.text
        shots = one_hot.sum(1)  # [E, N]
        if not rows.shape[1] or not bool(shots.any()):
            return LPPlusPlusState(torch.zeros_like(text), text, torch.full_like(shots, self.scale), known.absent)
        count = shots.sum(1).view(-1, 1, 1)
        weight = product(one_hot.mT, rows)  # [E, N, D]
        cosine = product(rows, text.mT) * one_hot.any(-1, keepdim=True)  # [E, S, N]
        of_class = (cosine * one_hot).sum(1) / shots.clamp(min=1)
        mean = of_class.sum(1, keepdim=True) / (shots > 0).sum(1, keepdim=True).clamp(min=1)
        begin = fitted_scale(known).squeeze(-1) if isinstance(self.start, str) else self.start * mean  # [E, 1]
        alpha = begin.expand_as(shots).clone()  # [E, N]
        largest = torch.linalg.eigvalsh(product(rows, rows.mT).double())[:, -1].to(rows.dtype)
        rate = 4 * count / largest.clamp(min=1e-6).view(-1, 1, 1)
        rate_alpha = count.squeeze(-1) / (4 * cosine.square().sum(1).amax(1, keepdim=True).clamp(min=1e-6))
        velocity = torch.zeros_like(weight)
        terms, shares = cross_entropy_terms(one_hot)
        cosine = cosine.mT.contiguous()  # [E, N, S]
        for step in range(self.steps):
            logits = torch.addcmul(product(weight, rows.mT), alpha.unsqueeze(-1), cosine)
            logits = logits.masked_fill_(known.absent.unsqueeze(-1), -torch.inf)
            error = torch.addcmul(terms, logits.softmax(1), shares)  # [E, N, S]
            velocity = 0.9 * velocity + product(error, rows)
            weight = weight - rate * velocity
            if step % _EVERY == _EVERY - 1:
                alpha = alpha - rate_alpha * (error * cosine).sum(-1)
        return LPPlusPlusState(weight, text, alpha, known.absent)

    def predict_alone(self, state: LPPlusPlusState, query: Tensor) -> Tensor:
        """The probe and the words."""
        words = state.alpha.unsqueeze(1) * cosines(query, state.text)  # [E, Q, N]
        return without(words + product(normalize(query, dim=-1), state.weight.mT), state.absent)

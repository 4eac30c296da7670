"""Tip-Adapter: zero-shot, and a vote of the support rows near the query."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.linalg import product
from fewshot.maths.spread import AUTO, check_auto
from fewshot.maths.text_head import TextState, cosines, read_text, scale_of, spread_of_rows, without

_BETA, _ALPHA, _SHOTS = 2.0, 0.7, 2.0  # chosen by benchmarks/defaults.py


class TipAdapterState(NamedTuple):
    """Support and text, and the numbers of each episode."""

    known: TextState
    alpha: Tensor  # [E, 1, 1]
    beta: Tensor  # [E, 1, 1]
    scale: Tensor  # [E, 1, 1]


class TipAdapter(Learner):
    """Adds to the zero-shot logits what support rows near the query say; nothing is trained.

    ``logits = scale cos(q, t_n) + alpha Σ_s exp(-beta (1 - cos(q, x_s))) [y_s = n]``. Without support it is
    zero-shot. The defaults need no validation data, which the paper's search over both numbers does.

    With the words of a sentence encoder it stays up to 8 points below class means (77 intents, 6 kinds of questions),
    at the scales of 100 and ``"auto"`` alike, the two that were tried; there `proker` or `cross-modal` use examples
    better.

    Args:
        alpha: weight of the support; ``"auto"``: what brings votes and text logits to the same spread over the classes,
            on the support, times 0.7 K / (K + 2) for a mean of K shots.
        beta: how near a row must be to count; ``"auto"``: 2 divided by the mean square distance of the support rows,
            of length one, from their mean.
        scale: factor on text cosines, that of the model; ``"auto"``: the one, 100 or less, that makes the labels of
            the support likeliest under the words, as encoders of sentences have none.

    Raises:
        ValueError: a number out of range.

    The paper's setting before its search: ``tip-adapter(alpha=1.0, beta=5.5)``.

    Reference: Zhang et al., "Tip-Adapter: training-free adaption of CLIP for few-shot classification", ECCV 2022,
    arXiv:2207.09519.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> TipAdapter()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "tip-adapter"
    needs = ("support", "text")
    invariant = ("scale",)

    def __init__(self, alpha: float | str = AUTO, beta: float | str = AUTO, scale: float | str = 100.0) -> None:
        super().__init__()
        check_auto("beta", beta)
        check_auto("scale", scale)
        if alpha != AUTO and (isinstance(alpha, str) or alpha < 0):
            raise ValueError(f"alpha={alpha!r}; it must be at least 0, or 'auto'.")
        self.alpha = alpha
        self.beta = beta
        self.scale = scale

    def adapt(self, episode: Support) -> TipAdapterState:
        """Normalise support and text, and weigh one against the other."""
        known = read_text(episode)
        unit = known.text.new_ones(len(episode), 1, 1)
        scale = scale_of(self.scale, known)
        beta = _BETA / spread_of_rows(known) if isinstance(self.beta, str) else self.beta * unit
        if not isinstance(self.alpha, str):
            return TipAdapterState(known, self.alpha * unit, beta, scale)
        here = known.one_hot.any(-1, keepdim=True) & ~known.absent.unsqueeze(1)  # [E, S, N]
        votes = torch.exp(-beta * (1 - product(known.support, known.support.mT))) @ known.one_hot
        first, second = _spread(scale * product(known.support, known.text.mT), here), _spread(votes, here)
        shots = known.one_hot.sum((1, 2)) / (~known.absent).sum(1).clamp(min=1)  # [E]
        alpha = _ALPHA * shots / (shots + _SHOTS) * first / second.clamp(min=1e-12)
        return TipAdapterState(known, alpha.view(-1, 1, 1), beta, scale)

    def predict(self, state: TipAdapterState, query: Tensor) -> Tensor:
        """Zero-shot logits and votes."""
        known, alpha, beta, scale = state
        logits = scale * cosines(query, known.text)  # [E, Q, N]
        if known.support.shape[1]:
            near = torch.exp(-beta * (1 - cosines(query, known.support)))  # [E, Q, S]
            logits = logits + alpha * near @ known.one_hot
        return without(logits, known.absent)


def _spread(logits: Tensor, here: Tensor) -> Tensor:
    """Standard deviation over the classes, of all labelled rows ``[E]``."""
    ways = here.sum(-1, keepdim=True).clamp(min=1)
    mean = (logits * here).sum(-1, keepdim=True) / ways
    return ((logits - mean).square() * here).sum((1, 2)).div(here.sum((1, 2)).clamp(min=1)).sqrt()

"""Tip-Adapter: zero-shot, and a vote of the support rows near the query."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.affinity import squared_distances
from fewshot.maths.beside_words import class_means_of
from fewshot.maths.experts import sharpness_of_means, weigh_experts
from fewshot.maths.held_out import folds_by_value
from fewshot.maths.linalg import product
from fewshot.maths.spread import AUTO, check_auto
from fewshot.maths.text_head import TextState, cosines, read_text, scale_of, spread_of_rows, without

_BETA, _ALPHA, _SHOTS = 2.0, 0.7, 2.0  # chosen by benchmarks/defaults.py
_FOLDS = 4


class TipAdapterState(NamedTuple):
    """Support and text, class means, and the numbers of each episode."""

    known: TextState
    means: Tensor  # [E, N, D]
    alpha: Tensor  # [E, 1, 1]
    beta: Tensor  # [E, 1, 1]
    scale: Tensor  # [E, 1, 1]
    sharpness: Tensor  # [E, 1, 1], of distances to class means; 0 where those are not asked


class TipAdapter(Learner):
    """Adds to the zero-shot logits what support rows near the query say; nothing is trained.

    ``logits = scale cos(q, t_n) + alpha Σ_s exp(-beta (1 - cos(q, x_s))) [y_s = n]``. Without support it is
    zero-shot. The defaults need no validation data, which the paper's search over both numbers does.

    One weight for all data does not exist: with the words of a sentence encoder alone votes stay up to 8 points below
    class means. So with ``alpha="auto"`` text, votes and distances to class means are three answers whose weights are
    those under which the labels of the support are likeliest, in up to four folds that are held out of votes and means
    (`weigh_experts`). Before any row says something, as with one example a class, they are 1, 1 and 0.

    Args:
        alpha: weight of the support; ``"auto"``: what brings votes and text logits to the same spread over the classes,
            on the support, times 0.7 K / (K + 2) for a mean of K shots, then times what held-out rows say. A number is
            taken as it is, and class means are not asked.
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
            return TipAdapterState(known, torch.zeros_like(known.text), self.alpha * unit, beta, scale, 0 * unit)
        here = known.one_hot.any(-1, keepdim=True) & ~known.absent.unsqueeze(1)  # [E, S, N]
        near = torch.exp(-beta * (1 - product(known.support, known.support.mT)))  # [E, S, S]
        words, votes = scale * product(known.support, known.text.mT), near @ known.one_hot
        first, second = _spread(words, here), _spread(votes, here)
        shots = known.one_hot.sum(1)  # [E, N]
        each = shots.sum(1) / (~known.absent).sum(1).clamp(min=1)  # [E]
        alpha = (_ALPHA * each / (each + _SHOTS) * first / second.clamp(min=1e-12)).view(-1, 1, 1)
        square = spread_of_rows(known)
        voted, far = torch.zeros_like(words), torch.zeros_like(words)
        fold = folds_by_value(episode, _FOLDS).unsqueeze(-1)  # [E, S, 1]
        for number in range(_FOLDS):  # one row of every class at a time, so that no class is the poorer for it
            held = fold == number
            left = known.one_hot * ~held
            away = squared_distances(known.support, class_means_of(known, left))
            distance = sharpness_of_means(left.sum(1), square) * away
            voted = torch.where(held, alpha * (near @ left), voted)
            far = torch.where(held, -distance, far)
        seen = torch.stack([words, voted, far], -1).double()  # [E, S, N, 3]
        seen = seen.masked_fill(known.absent.view(len(seen), 1, -1, 1), -torch.inf)
        several = (known.one_hot * (shots > 1).unsqueeze(1)).double()
        weight = weigh_experts(seen, several, (1.0, 1.0, 0.0)).to(alpha).view(-1, 3, 1, 1)
        scale, alpha = weight[:, 0] * scale, weight[:, 1] * alpha
        sharpness = weight[:, 2] * sharpness_of_means(shots, square)
        return TipAdapterState(known, class_means_of(known, known.one_hot), alpha, beta, scale, sharpness)

    def predict(self, state: TipAdapterState, query: Tensor) -> Tensor:
        """Zero-shot logits, votes and distances to class means."""
        known, means, alpha, beta, scale, sharpness = state
        logits = scale * cosines(query, known.text)  # [E, Q, N]
        if known.support.shape[1]:
            near = torch.exp(-beta * (1 - cosines(query, known.support)))  # [E, Q, S]
            logits = logits + alpha * near @ known.one_hot
            # |q|² is 1 for all classes
            logits = logits + sharpness * (2 * cosines(query, means) - means.square().sum(-1).unsqueeze(1))
        return without(logits, known.absent)


def _spread(logits: Tensor, here: Tensor) -> Tensor:
    """Standard deviation over the classes, of all labelled rows ``[E]``."""
    ways = here.sum(-1, keepdim=True).clamp(min=1)
    mean = (logits * here).sum(-1, keepdim=True) / ways
    return ((logits - mean).square() * here).sum((1, 2)).div(here.sum((1, 2)).clamp(min=1)).sqrt()

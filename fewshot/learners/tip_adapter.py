"""Tip-Adapter: zero-shot, and a vote of the support rows near the query."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.affinity import squared_distances
from fewshot.maths.experts import left_out, sharpness_of_means, weigh_experts
from fewshot.maths.linalg import product
from fewshot.maths.spread import AUTO, check_auto
from fewshot.maths.text_head import TextState, cosines, read_text, scale_of, spread_of_rows, without

_BETA, _ALPHA, _SHOTS, _MEANS = 2.0, 0.7, 2.0, 0.3  # chosen by benchmarks/defaults.py


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
    those under which the labels of the support are likeliest, each row left out of votes and means (`weigh_experts`).
    Before any row says something, as with one example a class, they are 1, 1 and 0.3 times the numbers below.

    Args:
        alpha: weight of the support; ``"auto"``: what brings votes and text logits to the same spread over the classes,
            on the support, times 0.7 K / (K + 2) for a mean of K shots, then times what left-out rows say. A number is
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
        middle = known.support.sum(1, keepdim=True) / shots.sum(1).clamp(min=1).view(
            -1, 1, 1
        )  # of a class without rows
        means = product(known.one_hot.mT, known.support) / shots.clamp(min=1).unsqueeze(-1)
        means = torch.where(shots.unsqueeze(-1) > 0, means, middle)
        sharpness = sharpness_of_means(shots, spread_of_rows(known))
        left = left_out(known.one_hot, shots)  # [E, S, N]
        votes = alpha * left * (votes - known.one_hot)  # a row is as near to itself as can be
        distances = -sharpness * left.square() * squared_distances(known.support, means)
        seen = torch.stack([words, votes, distances], -1).double()  # [E, S, N, 3]
        seen = seen.masked_fill(known.absent.view(len(seen), 1, -1, 1), -torch.inf)
        several = (known.one_hot * (shots > 1).unsqueeze(1)).double()
        weight = weigh_experts(seen, several, (1.0, 1.0, _MEANS)).to(alpha).view(-1, 3, 1, 1)
        scale, alpha, sharpness = weight[:, 0] * scale, weight[:, 1] * alpha, weight[:, 2] * sharpness
        return TipAdapterState(known, means, alpha, beta, scale, sharpness)

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

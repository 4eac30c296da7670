"""TransCLIP: all queries together, as a mixture of Gaussians that begins with the words."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.beside_words import BesideWords, check_words
from fewshot.maths.linalg import normalize, product
from fewshot.maths.text_head import TextState, read_text, without
from fewshot.maths.text_transduction import NEIGHBOUR_WEIGHT, assign, log_likelihood, neighbour_graph


class TransCLIP(BesideWords):
    """Alternates between assigning the queries and fitting a Gaussian to each class, text as the prior.

    ``z_q ∝ p_q^λ exp((ll_q + 50/6 Σ_r W_qr z_r) / 50)`` with the zero-shot softmax p, the log-likelihood ll of
    Gaussians of unit means and one diagonal variance, and the cosines W to near rows; λ is 1 without support, else
    0.5. Support rows join with their labels fixed and weigh `support_weight` as much as the queries together.

    It supposes that about all classes are among the queries, and many queries of each: on small batches of few
    classes it falls far below zero-shot (`StatA` does not).

    On texts the method alone stays up to 11 points below class means or zero-shot, so both are asked as well, and
    weighed by rows that are held out (`BesideWords`).

    Args:
        neighbours: in the graph.
        steps: alternations.
        support_weight: of all support rows against all queries.
        scale: factor on text cosines; that of the model.
        words: weight of the words at one row a class, before any is held out; 0: words and class means are not asked.

    Raises:
        ValueError: a number out of range.

    The paper's setting: ``transclip(words=0.0)``.

    Reference: Zanella, Gérin, Ben Ayed, "Boosting vision-language models with transduction", NeurIPS 2024,
    arXiv:2406.01837.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> TransCLIP()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "transclip"
    needs = ("support", "text")
    invariant = ("scale",)
    transductive = True

    def __init__(
        self,
        neighbours: int = 3,
        steps: int = 10,
        support_weight: float = 1.0,
        scale: float = 100.0,
        words: float = 4.0,
    ) -> None:
        super().__init__()
        check_words(words)
        if neighbours < 1 or steps < 1 or support_weight < 0 or scale <= 0:
            raise ValueError(
                f"neighbours={neighbours}, steps={steps}, support_weight={support_weight}, scale={scale}; the first "
                "two at least 1, the weight at least 0, the scale positive."
            )
        self.neighbours = neighbours
        self.steps = steps
        self.support_weight = support_weight
        self.scale = scale
        self.words = words

    def adapt_alone(self, support: Support) -> TextState:
        """Normalise support and text."""
        return read_text(support)

    def predict_alone(self, state: TextState, query: Tensor) -> Tensor:
        """Alternate."""
        rows, queries = normalize(query, dim=-1), query.shape[1]
        fixed, width = state.one_hot, query.shape[-1]
        everything = torch.cat([state.support, rows], 1)  # [E, S + Q, D]
        real = torch.cat([fixed.any(-1), fixed.new_ones(query.shape[:2], dtype=torch.bool)], 1)
        graph = neighbour_graph(everything, real, self.neighbours)[:, -queries:]  # [E, Q, S + Q]
        prior = without(self.scale * product(rows, state.text.mT), state.absent).log_softmax(-1)  # [E, Q, N]
        shots = fixed.sum(1)  # [E, N]
        labelled = (shots.sum(1) > 0).view(-1, 1, 1)
        prior = torch.where(labelled, 0.5 * prior, prior)
        z = prior.softmax(-1)
        # Labelled rows together weigh as much as the queries, times the weight.
        share = self.support_weight * queries / shots.sum(1).clamp(min=1).view(-1, 1, 1)
        means = torch.where((shots > 0).unsqueeze(-1), product(fixed.mT, state.support), self._confident(z, rows))
        means = normalize(means, dim=-1)
        variance = rows.new_full((len(rows), 1, width), 1 / width)
        for _ in range(self.steps):
            likelihood = log_likelihood(rows, means, variance.expand_as(means))
            z = self._assign(likelihood, prior, graph, z, fixed).exp()
            weights = torch.cat([share * fixed, z], 1)  # [E, S + Q, N]
            total = weights.sum(1).unsqueeze(-1).clamp(min=1e-12)  # [E, N, 1]
            means = normalize(product(weights.mT, everything) / total, dim=-1)
            mass = weights.sum((1, 2)).view(-1, 1, 1)
            second = product(weights.sum(-1).unsqueeze(1), everything.square())  # [E, 1, D]
            cross = (means * product(weights.mT, everything)).sum(1, keepdim=True)
            own = (weights.sum(1).unsqueeze(-1) * means.square()).sum(1, keepdim=True)
            variance = ((second - 2 * cross + own) / mass).clamp(min=1e-6)
        likelihood = log_likelihood(rows, means, variance.expand_as(means))
        return without(self._assign(likelihood, prior, graph, z, fixed), state.absent)

    def _assign(self, likelihood: Tensor, prior: Tensor, graph: Tensor, z: Tensor, fixed: Tensor) -> Tensor:
        from_labelled = (
            product(graph[..., : fixed.shape[1]], fixed) * NEIGHBOUR_WEIGHT
        )  # labelled neighbours do not change
        return assign(likelihood + from_labelled, prior, graph[..., fixed.shape[1] :], z, 5)

    def _confident(self, z: Tensor, rows: Tensor) -> Tensor:
        """Sum of the eight rows that each class is surest of ``[E, N, D]``."""
        kept = z.mT.topk(min(8, rows.shape[1]), -1)  # [E, N, 8]
        weights = torch.zeros_like(z.mT).scatter_(-1, kept.indices, kept.values)
        return product(weights, rows)

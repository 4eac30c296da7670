"""StatA: transduction that keeps classes which get no queries at their words."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.beside_words import BesideWords, check_words
from fewshot.maths.linalg import normalize, product
from fewshot.maths.text_head import TextState, read_text, without
from fewshot.maths.text_transduction import NEIGHBOUR_WEIGHT, assign, log_likelihood, neighbour_graph


class StatA(BesideWords):
    """Fits a Gaussian to each class of the queries, anchored at its text by how few queries it gets.

    As `TransCLIP`, with a diagonal covariance per class, and ``β_n = c_n / (anchor + c_n)`` where c_n queries (and
    support rows) are of class n: ``μ_n = normalise(β_n mean_n + (1 - β_n) t_n)`` and
    ``Σ_n = β_n Σ̂_n + (1 - β_n) (Σ_0 + (t_n - μ_n)²)``. It supposes nothing of which classes are among the queries, so
    small and uneven batches do no harm. The transductive learner to begin with where there are words.

    On texts the method alone stays up to 14 points below class means or zero-shot, so both are asked as well, and
    weighed by rows that are held out (`BesideWords`).

    Args:
        anchor: how many rows a class needs to leave its text half way (α).
        neighbours: in the graph.
        steps: alternations.
        scale: factor on text cosines; that of the model.
        words: weight of the words at one row a class, before any is held out; 0: words and class means are not asked.

    Raises:
        ValueError: a number out of range.

    The paper's setting: ``stata(words=0.0)``.

    Reference: Zanella, Fuchs, De Vleeschouwer, Ben Ayed, "Realistic test-time adaptation of vision-language models",
    CVPR 2025, arXiv:2501.03729.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> StatA()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "stata"
    needs = ("support", "text")
    invariant = ("scale",)
    transductive = True

    def __init__(
        self, anchor: float = 1.0, neighbours: int = 3, steps: int = 10, scale: float = 100.0, words: float = 0.1
    ) -> None:
        super().__init__()
        check_words(words)
        if anchor <= 0 or neighbours < 1 or steps < 1 or scale <= 0:
            raise ValueError(
                f"anchor={anchor}, neighbours={neighbours}, steps={steps}, scale={scale}; neighbours and steps at "
                "least 1, the others positive."
            )
        self.anchor = anchor
        self.neighbours = neighbours
        self.steps = steps
        self.scale = scale
        self.words = words

    def adapt_alone(self, support: Support) -> TextState:
        """Normalise support and text."""
        return read_text(support)

    def predict_alone(self, state: TextState, query: Tensor) -> Tensor:
        """Alternate."""
        rows, queries, fixed = normalize(query, dim=-1), query.shape[1], state.one_hot
        everything = torch.cat([state.support, rows], 1)  # [E, S + Q, D]
        real = torch.cat([fixed.any(-1), fixed.new_ones(query.shape[:2], dtype=torch.bool)], 1)
        graph = neighbour_graph(everything, real, self.neighbours)[:, -queries:]  # [E, Q, S + Q]
        from_labelled = product(graph[..., : fixed.shape[1]], fixed) * NEIGHBOUR_WEIGHT
        prior = without(self.scale * product(rows, state.text.mT), state.absent).log_softmax(-1)
        z, means = prior.softmax(-1), state.text
        spread = self._spread(torch.cat([fixed, z], 1), everything, state.text).sum(1, keepdim=True)
        spread = spread / (fixed.sum((1, 2)) + queries).view(-1, 1, 1)  # around the words, all classes together
        variance = spread.clamp(min=1e-6).expand_as(means)
        for _ in range(self.steps):
            likelihood = log_likelihood(rows, means, variance) + from_labelled
            z = assign(likelihood, prior, graph[..., fixed.shape[1] :], z, 5).exp()
            weights = torch.cat([fixed, z], 1)  # [E, S + Q, N]
            hard = torch.zeros_like(z).scatter_(-1, z.argmax(-1, keepdim=True), 1.0)
            count = (hard.sum(1) + fixed.sum(1)).unsqueeze(-1)  # [E, N, 1]
            beta = count / (self.anchor + count)
            total = weights.sum(1).unsqueeze(-1).clamp(min=1e-12)
            means = normalize(beta * product(weights.mT, everything) / total + (1 - beta) * state.text, dim=-1)
            own = self._spread(weights, everything, means) / total
            variance = beta * own + (1 - beta) * (spread + (state.text - means).square())
            variance = variance.clamp(min=1e-6)
        likelihood = log_likelihood(rows, means, variance) + from_labelled
        return without(assign(likelihood, prior, graph[..., fixed.shape[1] :], z, 5), state.absent)

    def _spread(self, weights: Tensor, rows: Tensor, means: Tensor) -> Tensor:
        """``Σ_i w_in (x_i - μ_n)²`` ``[E, N, D]``."""
        first = product(weights.mT, rows)
        return product(weights.mT, rows.square()) - 2 * means * first + weights.sum(1).unsqueeze(-1) * means.square()

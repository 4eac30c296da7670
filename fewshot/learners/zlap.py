"""ZLaP: labels spread from the words over the graph of all queries."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.beside_words import BesideWords, check_words
from fewshot.maths.linalg import normalize, product
from fewshot.maths.text_head import TextState, read_text, without


class ZLaP(BesideWords):
    """Spreads class labels from text (and support) nodes over nearest-neighbour edges among all rows.

    An image is joined to its `neighbours` nearest images by ``max(cos, 0)`` and to as many nearest texts by
    ``max(cos, 0)^text_power``. With ``A = D^(-1/2) (W + Wᵀ) D^(-1/2)`` the answer is ``F = (I - spread A)⁻¹ Y``, one
    solve per episode; Y marks the texts. ``logits = scale log F``.

    A labelled image is joined to the text of its class alone, as strongly as to all texts together otherwise. (Marked
    in Y, a few images would drown the words: edges among images are some hundred times those to texts.)

    On texts the method alone stays up to 11 points below class means or zero-shot, so both are asked as well, and
    weighed by rows that are held out (`BesideWords`).

    Args:
        neighbours: edges of an image to images, and to texts.
        text_power: sharpens the edges to texts (γ).
        spread: how far labels travel, 0..1 (α).
        scale: of the logits; it changes probabilities, not predictions.
        words: weight of the words at one row a class, before any is held out; 0: words and class means are not asked.

    Raises:
        ValueError: a number out of range.

    The paper's setting: ``zlap(words=0.0)``.

    Reference: Stojnić, Kalantidis, Tolias, "Label propagation for zero-shot classification with vision-language
    models", CVPR 2024, arXiv:2404.04072.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> ZLaP()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "zlap"
    needs = ("support", "text")
    invariant = ("scale",)
    transductive = True
    scale_is_of_cosines = False

    def __init__(
        self, neighbours: int = 5, text_power: float = 5.0, spread: float = 0.3, scale: float = 1.0, words: float = 1.0
    ) -> None:
        super().__init__()
        check_words(words)
        if neighbours < 1 or text_power <= 0 or not 0 < spread < 1 or scale <= 0:
            raise ValueError(
                f"neighbours={neighbours}, text_power={text_power}, spread={spread}, scale={scale}; neighbours at "
                "least 1, spread in 0..1, the others positive."
            )
        self.neighbours = neighbours
        self.text_power = text_power
        self.spread = spread
        self.scale = scale
        self.words = words

    def adapt_alone(self, support: Support) -> TextState:
        """Normalise support and text."""
        return read_text(support)

    def predict_alone(self, state: TextState, query: Tensor) -> Tensor:
        """Solve the graph of texts, support and queries."""
        images = torch.cat([state.support, normalize(query, dim=-1)], 1)  # [E, R, D]
        ways, count = state.text.shape[1], images.shape[1]
        real = torch.cat([state.one_hot.any(-1), state.one_hot.new_ones(query.shape[:2], dtype=torch.bool)], 1)
        among = product(images, images.mT).masked_fill(~(real.unsqueeze(1) & real.unsqueeze(2)), 0.0)
        among = among.clamp(min=0) * (1 - torch.eye(count, dtype=among.dtype, device=among.device))
        towards = product(images, state.text.mT).clamp(min=0).pow(self.text_power)
        towards = towards.masked_fill(~real.unsqueeze(-1) | state.absent.unsqueeze(1), 0.0)  # [E, R, N]
        size = ways + count
        edges = images.new_zeros(len(images), size, size)
        edges[:, ways:, ways:] = _strongest(among, self.neighbours)
        towards = _strongest(towards, self.neighbours)
        labelled = state.support.shape[1]
        towards[:, :labelled] = towards[:, :labelled].sum(-1, keepdim=True) * state.one_hot
        edges[:, ways:, :ways] = towards
        edges = (edges + edges.mT).double()
        degree = edges.sum(-1).clamp(min=1e-12).rsqrt()
        system = -self.spread * degree.unsqueeze(1) * edges * degree.unsqueeze(2)
        system.diagonal(dim1=1, dim2=2).add_(1.0)
        known = torch.eye(ways, dtype=edges.dtype, device=edges.device).expand(len(images), -1, -1)
        start = torch.cat([known, known.new_zeros(len(images), count, ways)], 1)
        answer = torch.linalg.solve(system, start)[:, size - query.shape[1] :]  # [E, Q, N]
        return without(self.scale * answer.clamp(min=1e-30).log().to(query.dtype), state.absent)


def _strongest(weights: Tensor, count: int) -> Tensor:
    """Each row's largest entries; the others become zero."""
    count = min(count, weights.shape[-1])
    kept = weights.topk(count, -1)
    return torch.zeros_like(weights).scatter_(-1, kept.indices, kept.values)

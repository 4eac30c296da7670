"""GDA: zero-shot, and Gaussian discriminant analysis of the support."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.beside_words import BesideWords, check_words
from fewshot.maths.linalg import normalize, product
from fewshot.maths.text_head import cosines, read_text, without

_LEAST = 1e-6  # of the variance; at one shot there is none, and the precision is that of a sphere


class GDAState(NamedTuple):
    """Text, and the linear classifier of the support with its weight."""

    text: Tensor  # [E, N, D]
    absent: Tensor  # [E, N]
    weight: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]


class GDA(BesideWords):
    """Adds to the zero-shot logits those of Gaussian classes with a shared covariance; nothing is trained.

    ``logits = scale cos(q, t_n) + alpha a (q·P μ_n - ½ μ_nᵀ P μ_n)`` with ``P = D (CᵀC + tr(Σ) I)⁻¹`` of the centred
    support C (Kubokawa and Srivastava's estimate). The factor a brings both parts to the same spread on the
    support, where the paper searches on validation data. With one shot per class there is no covariance and P
    is that of a sphere, so that part becomes the nearest class mean. A class without support keeps its text.

    On texts the method alone stays up to 5 points below class means or zero-shot, so both are asked as well, and
    weighed by rows that are held out (`BesideWords`).

    Args:
        alpha: weight of the Gaussian part, after both are of the same spread.
        scale: factor on text cosines; that of the model.
        words: weight of the words at one row a class, before any is held out; 0: words and class means are not asked.

    Raises:
        ValueError: a number out of range.

    The method alone: ``gda(words=0.0)``.

    Reference: Wang et al., "A hard-to-beat baseline for training-free CLIP-based adaptation", ICLR 2024,
    arXiv:2402.04087.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> GDA()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "gda"
    needs = ("support", "text")
    invariant = ("scale",)

    def __init__(self, alpha: float = 1.0, scale: float = 100.0, words: float = 1.0) -> None:
        super().__init__()
        check_words(words)
        if alpha < 0 or scale <= 0:
            raise ValueError(f"alpha={alpha}, scale={scale}; alpha must be at least 0, the scale positive.")
        self.alpha = alpha
        self.scale = scale
        self.words = words

    def adapt_alone(self, support: Support) -> GDAState:
        """Estimate the Gaussians, in the span of the support where that is smaller."""
        known = read_text(support)
        rows, one_hot = known.support, known.one_hot
        if not rows.shape[1]:
            return GDAState(known.text, known.absent, torch.zeros_like(known.text), known.absent.to(rows.dtype))
        shots = one_hot.sum(1).unsqueeze(-1)  # [E, N, 1]
        means = product(one_hot.mT, rows) / shots.clamp(min=1)  # [E, N, D]
        means = torch.where(shots > 0, means, known.text)
        centred = (rows - product(one_hot, means)) * one_hot.sum(-1, keepdim=True)  # [E, S, D]
        count = one_hot.sum((1, 2)).view(-1, 1, 1)
        spread = centred.square().sum((1, 2), keepdim=True) / (count - 1).clamp(min=1)
        weight = rows.shape[-1] * self._solve(centred, means, spread.clamp(min=_LEAST))  # [E, N, D]
        bias = -0.5 * (weight * means).sum(-1)  # [E, N]
        here = ~known.absent.unsqueeze(1) & one_hot.any(-1, keepdim=True)  # [E, S, N]
        first = self._spread(self.scale * product(rows, known.text.mT), here)
        second = self._spread(product(rows, weight.mT) + bias.unsqueeze(1), here)
        ratio = self.alpha * first / second.clamp(min=1e-12)  # [E]
        return GDAState(known.text, known.absent, ratio.view(-1, 1, 1) * weight, ratio.view(-1, 1) * bias)

    def predict_alone(self, state: GDAState, query: Tensor) -> Tensor:
        """Both parts."""
        logits = self.scale * cosines(query, state.text) + product(normalize(query, dim=-1), state.weight.mT)
        return without(logits + state.bias.unsqueeze(1), state.absent)

    def _solve(self, centred: Tensor, means: Tensor, spread: Tensor) -> Tensor:
        """``means (CᵀC + spread I)⁻¹``, by Woodbury's identity where C has fewer rows than columns."""
        if centred.shape[1] <= centred.shape[2]:
            inner = product(centred, centred.mT) + spread * _eye(centred, 1)
            along = product(centred, means.mT)  # [E, S, N]
            shares = torch.cholesky_solve(along, torch.linalg.cholesky_ex(inner).L)
            return (means - product(shares.mT, centred)) / spread
        outer = product(centred.mT, centred) + spread * _eye(centred, 2)
        return torch.cholesky_solve(means.mT, torch.linalg.cholesky_ex(outer).L).mT

    def _spread(self, logits: Tensor, here: Tensor) -> Tensor:
        """Standard deviation over classes, of all labelled rows ``[E]``; a constant per row does not count."""
        ways = here.sum(-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(~here, 0.0)
        logits = (logits - logits.sum(-1, keepdim=True) / ways).masked_fill(~here, 0.0)
        return (logits.square().sum((1, 2)) / here.sum((1, 2)).clamp(min=1)).sqrt()


def _eye(like: Tensor, axis: int) -> Tensor:
    return torch.eye(like.shape[axis], dtype=like.dtype, device=like.device)

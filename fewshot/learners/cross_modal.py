"""Cross-modal linear probe: the words of a class are one more example of it."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.beside_words import BesideWords, check_words
from fewshot.maths.linalg import normalize, product
from fewshot.maths.spread import spread
from fewshot.maths.text_head import LENGTH, TextDescent, TextWeights, read_text, scale_of, tune_text, without
from fewshot.renamed import renamed

SOLVERS = ("ridge", "sgd")


class CrossModalState(NamedTuple):
    """One vector per class, and what brings queries to where they were fitted."""

    weights: TextWeights
    centre: Tensor  # [E, 1, D]


class CrossModal(BesideWords):
    """Fits a linear classifier to support rows and class texts together.

    - ``"ridge"``, closed form: ``W = [Y; wI]ᵀ (R Rᵀ + alpha I)⁻¹ R`` over the rows R of the support and the
      texts, these weighted by `text_weight`; ``logits = scale W (q - m)``. Rows and texts are each taken around their
      own mean and divided by their root mean square distance from it: words and pictures lie apart.
    - ``"sgd"``: minimises the mean cross-entropy of ``scale cos(x, w_n)`` over both, beginning with the texts.

    Without support the texts alone are fitted.

    On texts the method alone stays up to 4 points below class means or zero-shot, so both are asked as well, and
    weighed by rows that are held out (`BesideWords`).

    Args:
        solver: one of these.
        alpha: penalty of the ridge; rows have a mean square of 1.
        text_weight: weight of a text against that of one image.
        steps: of the descent.
        lr: of the descent, for class vectors of length 10.
        scale: factor on cosines; that of the model.
        words: weight of the words at one row a class, before any is held out; 0: words and class means are not asked.

    Raises:
        ValueError: an unknown solver, or a number out of range.

    The method alone: ``cross-modal(words=0.0)``.

    Reference: Lin, Yu, Kuang, Pathak, Ramanan, "Multimodality helps unimodality: cross-modal few-shot learning with
    multimodal models", CVPR 2023, arXiv:2301.06267.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> CrossModal()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "cross-modal"
    needs = ("support", "text")
    invariant = ("scale",)

    @renamed(rate="lr")
    def __init__(
        self,
        solver: str = "ridge",
        alpha: float = 10.0,
        text_weight: float = 3.0,
        steps: int = 300,
        lr: float = 0.1,
        scale: float = 100.0,
        words: float = 1.0,
    ) -> None:
        super().__init__()
        check_words(words)
        if solver not in SOLVERS:
            raise ValueError(f"solver={solver!r}; it must be 'ridge' or 'sgd'.")
        if min(alpha, text_weight, scale) <= 0:
            raise ValueError(f"alpha={alpha}, text_weight={text_weight}, scale={scale}; all must be positive.")
        TextDescent(steps, lr).check()
        self.solver = solver
        self.alpha = alpha
        self.text_weight = text_weight
        self.steps = steps
        self.lr = lr
        self.scale = scale
        self.words = words

    def adapt_alone(self, episode: Support) -> CrossModalState:
        """Fit."""
        known = read_text(episode)
        ways = torch.eye(episode.way, dtype=known.text.dtype, device=known.text.device).expand(len(episode), -1, -1)
        ways = ways * (~known.absent).to(ways.dtype).unsqueeze(-1)  # [E, N, N]
        if self.solver == "sgd":
            rows = torch.cat([known.support, known.text], 1)  # [E, S + N, D]
            one_hot = torch.cat([known.one_hot, ways], 1)
            how = TextDescent(self.steps, self.lr)
            weight = tune_text(LENGTH * known.text, rows, one_hot, known.absent, self.scale, how)
            centre = torch.zeros_like(known.text[:, :1])
            return CrossModalState(
                TextWeights(normalize(weight, dim=-1), known.absent, scale_of(self.scale, known)), centre
            )
        root = self.text_weight**0.5
        labelled = known.one_hot.any(-1)
        here, words = spread(known.support, labelled), spread(known.text, ~known.absent)
        support = here.rescale(known.support) * labelled.unsqueeze(-1)
        text = words.rescale(known.text) * (~known.absent).unsqueeze(-1)
        rows = torch.cat([support, root * text], 1)
        even = ways.sum(1, keepdim=True) / ways.sum((1, 2)).view(-1, 1, 1).clamp(min=1)  # [E, 1, N]
        target = torch.cat(
            [(known.one_hot - even) * labelled.unsqueeze(-1), root * (ways - even) * (~known.absent).unsqueeze(-1)], 1
        )  # [E, S + N, N]
        gram = product(rows, rows.mT)
        gram = gram + self.alpha * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        shares = torch.cholesky_solve(target, torch.linalg.cholesky_ex(gram).L)  # [E, S + N, N]
        # Divided by the spread here, so that queries need not be.
        weight = product(shares.mT, rows) / here.root
        return CrossModalState(TextWeights(weight, known.absent, scale_of(self.scale, known)), here.mean)

    def predict_alone(self, state: CrossModalState, query: Tensor) -> Tensor:
        """Score the queries."""
        weights, centre = state
        rows = normalize(query, dim=-1) - centre
        return without(weights.scale * product(rows, weights.weight.mT), weights.absent)

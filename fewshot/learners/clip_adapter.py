"""CLIP-Adapter: a small network, tuned on the support, bends the image features."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.counter import Stream, uniforms
from episodes.episode import Support
from fewshot.maths.beside_words import BesideWords, check_words
from fewshot.maths.linalg import normalize, product
from fewshot.maths.prototype_head import cross_entropy_terms
from fewshot.maths.text_head import Stepper, TextDescent, read_text, without
from fewshot.renamed import renamed

_BOTTLENECK = 4  # the hidden layer is narrower by this factor


class CLIPAdapterState(NamedTuple):
    """Two layers, and the text."""

    down: Tensor  # [E, D, H]
    up: Tensor  # [E, H, D]
    text: Tensor  # [E, N, D]
    absent: Tensor  # [E, N]
    tuned: Tensor  # [E], False where there was no support: then nothing is bent


class CLIPAdapter(BesideWords):
    """Bends features by a bottleneck of two layers: ``x' = share relu(relu(x A) B) + (1 - share) x``.

    ``logits = scale cos(x', t_n)``; A and B minimise the support's cross-entropy by Adam, the rate falling along a
    cosine, from the same random numbers in every episode. The hidden layer has D / 4 units. Without support it is
    zero-shot.

    On texts the method alone stays up to 7 points below class means or zero-shot, so both are asked as well, and
    weighed by rows that are held out (`BesideWords`).

    Args:
        share: of the bent features (the paper's residual ratio).
        steps: of Adam.
        lr: of Adam.
        scale: factor on cosines; that of the model.
        words: weight of the words at one row a class, before any is held out; 0: words and class means are not asked.

    Raises:
        ValueError: a number out of range.

    The paper's setting: ``clip-adapter(words=0.0)``.

    Reference: Gao et al., "CLIP-Adapter: better vision-language models with feature adapters", IJCV 2024,
    arXiv:2110.04544.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> CLIPAdapter()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "clip-adapter"
    needs = ("support", "text")
    invariant = ("scale",)

    @renamed(rate="lr")
    def __init__(
        self, share: float = 0.2, steps: int = 100, lr: float = 1e-3, scale: float = 100.0, words: float = 0.5
    ) -> None:
        super().__init__()
        check_words(words)
        if not 0 <= share <= 1 or scale <= 0:
            raise ValueError(f"share={share}, scale={scale}; the share must lie in 0..1, the scale must be positive.")
        TextDescent(steps, lr, "adam").check()
        self.share = share
        self.steps = steps
        self.lr = lr
        self.scale = scale
        self.words = words

    @torch.no_grad()
    def adapt_alone(self, support: Support) -> CLIPAdapterState:
        """Tune both layers, gradients written out."""
        known = read_text(support)
        rows, one_hot = known.support, known.one_hot
        width = rows.shape[-1]
        hidden = max(1, width // _BOTTLENECK)
        down = self._start(0, width, hidden).to(rows).repeat(len(rows), 1, 1)  # [E, D, H]
        up = self._start(1, hidden, width).to(rows).repeat(len(rows), 1, 1)  # [E, H, D]
        how = TextDescent(self.steps, self.lr, "adam")
        steppers = Stepper(down, how), Stepper(up, how)
        tuned = one_hot.any(-1).any(-1)  # [E]
        terms, shares = cross_entropy_terms(one_hot)
        text, rest = self.scale * known.text, (1 - self.share) * rows
        for _ in range(self.steps if bool(tuned.any()) else 0):
            first = product(rows, down)
            inside = first.relu()
            second = product(inside, up).relu_()
            unit = torch.add(rest, second, alpha=self.share)  # [E, S, D], then in place: the largest there is
            length = unit.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            unit = unit.div_(length)
            cosine = product(text, unit.mT)  # [E, N, S]
            logits = cosine.masked_fill(known.absent.unsqueeze(-1), -torch.inf)
            error = torch.addcmul(terms, logits.softmax(1), shares)
            along = (error * cosine).sum(1).unsqueeze(-1)  # of the gradient with respect to unit vectors
            of_second = product(error.mT, text).addcmul_(along, unit, value=-1).mul_(self.share / length)
            of_second = of_second.mul_(second > 0)
            of_first = product(of_second, up.mT).mul_(first > 0)
            steppers[1].step(up, product(inside.mT, of_second))
            steppers[0].step(down, product(rows.mT, of_first))
        return CLIPAdapterState(down, up, known.text, known.absent, tuned)

    def predict_alone(self, state: CLIPAdapterState, query: Tensor) -> Tensor:
        """Bend the queries and score them against the text."""
        rows = normalize(query, dim=-1)
        share = self.share * state.tuned.to(rows.dtype).view(-1, 1, 1)
        bent = share * product(product(rows, state.down).relu(), state.up).relu() + (1 - share) * rows
        return without(self.scale * product(normalize(bent, dim=-1), state.text.mT), state.absent)

    def _start(self, stream: int, rows: int, columns: int) -> Tensor:
        numbers = torch.from_numpy(uniforms(0, Stream.ADAPTER + stream, 0, rows, columns).copy())
        return (2 * numbers - 1) / math.sqrt(rows)

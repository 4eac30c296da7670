"""Tip-Adapter-F: Tip-Adapter whose support keys are tuned."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.beside_words import BesideWords, check_words
from fewshot.maths.linalg import product
from fewshot.maths.prototype_head import cross_entropy_gradient
from fewshot.maths.spread import check_auto
from fewshot.maths.text_head import Stepper, TextDescent, TextState, cosines, read_text, scale_of, without
from fewshot.renamed import renamed


class TipAdapterFState(NamedTuple):
    """Text and tuned keys, and the factor on text cosines."""

    known: TextState  # its support holds the keys
    scale: Tensor  # [E, 1, 1]


class TipAdapterF(BesideWords):
    """`TipAdapter` with keys k_s, which begin as the support rows and minimise its cross-entropy.

    ``logits = scale cos(q, t_n) + alpha Σ_s exp(-beta (1 - q·k_s)) [y_s = n]``; Adam, rate falling along a cosine.
    The last keys are taken: choosing the best epoch on test data, as the released script does, is not learning.

    On texts the method alone stays up to 15 points below class means or zero-shot, so both are asked as well, and
    weighed by rows that are held out (`BesideWords`).

    Args:
        alpha: weight of the support.
        beta: how near a row must be to count.
        steps: over the whole support.
        lr: of Adam.
        scale: factor on text cosines, that of the model; ``"auto"``: the one, 100 or less, that makes the labels of
            the support likeliest under the words, as encoders of sentences have none.
        words: weight of the words at one row a class, before any is held out; 0: words and class means are not asked.

    Raises:
        ValueError: a number out of range.

    The paper's setting: ``tip-adapter-f(words=0.0)``.

    Reference: Zhang et al., "Tip-Adapter: training-free adaption of CLIP for few-shot classification", ECCV 2022,
    arXiv:2207.09519.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> TipAdapterF()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "tip-adapter-f"
    needs = ("support", "text")
    invariant = ("scale",)

    @renamed(rate="lr")
    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 5.5,
        steps: int = 20,
        lr: float = 1e-3,
        scale: float | str = 100.0,
        words: float = 0.1,
    ) -> None:
        super().__init__()
        check_words(words)
        check_auto("scale", scale)
        if alpha < 0 or beta <= 0:
            raise ValueError(f"alpha={alpha}, beta={beta}; alpha must be at least 0, beta positive.")
        TextDescent(steps, lr, "adam").check()
        self.alpha = alpha
        self.beta = beta
        self.steps = steps
        self.lr = lr
        self.scale = scale
        self.words = words

    @torch.no_grad()
    def adapt_alone(self, episode: Support) -> TipAdapterFState:
        """Tune the keys."""
        known = read_text(episode)
        scale = scale_of(self.scale, known)
        keys, rows, one_hot = known.support.clone(), known.support, known.one_hot
        if not keys.shape[1]:
            return TipAdapterFState(known, scale)
        fixed = without(scale * product(rows, known.text.mT), known.absent)  # [E, S, N]
        # With one label a row, the way back through the votes is a look-up, not a product.
        own = episode.labels.clamp(min=0).unsqueeze(1).expand(-1, rows.shape[1], -1)  # [E, S, S]
        labelled = (self.alpha * self.beta) * one_hot.any(-1).to(rows.dtype).unsqueeze(1)  # [E, 1, S]
        stepper = Stepper(keys, TextDescent(self.steps, self.lr, "adam"))
        for _ in range(self.steps):
            near = self._near(product(rows, keys.mT))  # [E, S, S]
            error = cross_entropy_gradient((fixed + self.alpha * product(near, one_hot)).softmax(-1), one_hot)
            of_near = near.mul_(error.gather(-1, own)).mul_(labelled)  # [E, S, S], in place: the largest there is
            stepper.step(keys, product(of_near.mT, rows))
        return TipAdapterFState(known._replace(support=keys), scale)

    def predict_alone(self, state: TipAdapterFState, query: Tensor) -> Tensor:
        """Zero-shot logits and votes of the keys."""
        known, scale = state
        logits = scale * cosines(query, known.text)  # [E, Q, N]
        if known.support.shape[1]:
            logits = logits + self.alpha * product(self._near(cosines(query, known.support)), known.one_hot)
        return without(logits, known.absent)

    def _near(self, cosine: Tensor) -> Tensor:
        """``exp(-beta (1 - cos))``, in place of the cosines."""
        return cosine.sub_(1).mul_(self.beta).exp_()

"""ZS-LP: a linear probe that begins with the words; and WiSE-FT, its average with them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.beside_words import BesideWords, check_words
from fewshot.maths.linalg import normalize
from fewshot.maths.spread import check_auto
from fewshot.maths.text_head import LENGTH, TextDescent, TextWeights, cosines, read_text, scale_of, tune_text, without
from fewshot.renamed import renamed


class ZSLP(BesideWords):
    """Tunes class vectors, which begin as the text vectors, on the support's cross-entropy.

    ``logits = scale cos(q, w_n)``, gradient descent with momentum over the whole support, the rate falling along a
    cosine. With `wise` above 0 the answer is ``w = (1 - wise) w / |w| + wise t`` (WiSE-FT), which keeps more of
    what zero-shot knew. Without support it is zero-shot.

    On texts the method alone stays up to 5 points below class means or zero-shot, so both are asked as well, and
    weighed by rows that are held out (`BesideWords`).

    Args:
        steps: of the descent.
        lr: of the descent, for class vectors of length 10.
        wise: share of the text vectors in the average, 0..1.
        scale: factor on cosines, that of the model; ``"auto"``: the one, 100 or less, that makes the labels of
            the support likeliest under the words, as encoders of sentences have none.
        words: weight of the words at one row a class, before any is held out; 0: words and class means are not asked.

    Raises:
        ValueError: a number out of range.

    The paper's setting: ``zs-lp(words=0.0)``.

    Reference: Silva-Rodríguez, Hajimiri, Ben Ayed, Dolz, "A closer look at the few-shot adaptation of large
    vision-language models", CVPR 2024, arXiv:2312.12730; Wortsman et al., "Robust fine-tuning of zero-shot models",
    CVPR 2022, arXiv:2109.01903.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> ZSLP()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "zs-lp"
    needs = ("support", "text")
    invariant = ("scale",)

    @renamed(rate="lr")
    def __init__(
        self, steps: int = 300, lr: float = 0.1, wise: float = 0.0, scale: float | str = 100.0, words: float = 4.0
    ) -> None:
        super().__init__()
        check_words(words)
        check_auto("scale", scale)
        if not 0 <= wise <= 1:
            raise ValueError(f"wise={wise}; it must lie in 0..1.")
        TextDescent(steps, lr).check()
        self.steps = steps
        self.lr = lr
        self.wise = wise
        self.scale = scale
        self.words = words

    @torch.no_grad()
    def adapt_alone(self, episode: Support) -> TextWeights:
        """Descend from the text vectors."""
        known, how = read_text(episode), TextDescent(self.steps, self.lr)
        scale = scale_of(self.scale, known)  # [E, 1, 1]
        weight = tune_text(LENGTH * known.text, known.support, known.one_hot, known.absent, scale, how)
        weight = (1 - self.wise) * normalize(weight, dim=-1) + self.wise * known.text
        return TextWeights(normalize(weight, dim=-1), known.absent, scale)

    def predict_alone(self, state: TextWeights, query: Tensor) -> Tensor:
        """Score the queries."""
        return without(state.scale * cosines(query, state.weight), state.absent)

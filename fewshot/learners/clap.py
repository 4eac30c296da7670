"""CLAP: a linear probe held back, class by class, where zero-shot was right already."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from episodes.episode import Support
from fewshot.maths.beside_words import BesideWords, check_words
from fewshot.maths.linalg import normalize, product
from fewshot.maths.spread import check_auto
from fewshot.maths.text_head import LENGTH, TextDescent, TextWeights, cosines, read_text, scale_of, tune_text, without
from fewshot.renamed import renamed


class CLAP(BesideWords):
    """Tunes class vectors under a penalty that keeps each near its text, the more the better that text did.

    Minimises ``CE(support) + strength mean_n λ_n |w_n - t_n|²`` from ``w = t``; ``λ_n`` is the mean zero-shot
    probability of class n on its own support rows, 1 for a class without any. ``logits = scale cos(q, w_n)``. No
    validation data is needed. Without support it is zero-shot.

    On texts the method alone stays up to 8 points below class means or zero-shot, so both are asked as well, and
    weighed by rows that are held out (`BesideWords`).

    Args:
        strength: of the penalty; the paper's is 1.
        steps: of the descent.
        lr: of the descent, for class vectors of length 10.
        scale: factor on cosines, that of the model; ``"auto"``: the one, 100 or less, that makes the labels of
            the support likeliest under the words, as encoders of sentences have none.
        words: weight of the words at one row a class, before any is held out; 0: words and class means are not asked.

    Raises:
        ValueError: a number out of range.

    The paper's setting: ``clap(words=0.0)``.

    Reference: Silva-Rodríguez, Hajimiri, Ben Ayed, Dolz, "A closer look at the few-shot adaptation of large
    vision-language models", CVPR 2024, arXiv:2312.12730.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> CLAP()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "clap"
    needs = ("support", "text")
    invariant = ("scale",)

    @renamed(rate="lr")
    def __init__(
        self, strength: float = 1.0, steps: int = 300, lr: float = 0.1, scale: float | str = 100.0, words: float = 0.5
    ) -> None:
        super().__init__()
        check_words(words)
        check_auto("scale", scale)
        if strength < 0:
            raise ValueError(f"strength={strength}; it must be at least 0.")
        TextDescent(steps, lr).check()
        self.strength = strength
        self.steps = steps
        self.lr = lr
        self.scale = scale
        self.words = words

    def adapt_alone(self, episode: Support) -> TextWeights:
        """Weigh the classes, then descend from the text vectors."""
        known, how = read_text(episode), TextDescent(self.steps, self.lr)
        scale = scale_of(self.scale, known)  # [E, 1, 1]
        prior = without(scale * product(known.support, known.text.mT), known.absent).softmax(-1)  # [E, S, N]
        shots = known.one_hot.sum(1)  # [E, N]
        trust = ((prior * known.one_hot).sum(1) / shots.clamp(min=1)).where(shots > 0, 1.0)
        anchor = self.strength * trust.masked_fill(known.absent, 0.0)
        start = LENGTH * known.text
        weight = tune_text(start, known.support, known.one_hot, known.absent, scale, how, anchor)
        return TextWeights(normalize(weight, dim=-1), known.absent, scale)

    def predict_alone(self, state: TextWeights, query: Tensor) -> Tensor:
        """Score the queries."""
        return without(state.scale * cosines(query, state.weight), state.absent)

"""TaskRes: a residual on the words, and nothing else, is learned."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from episodes.episode import Support
from fewshot.maths.beside_words import BesideWords, check_words
from fewshot.maths.linalg import normalize
from fewshot.maths.spread import AUTO, check_auto
from fewshot.maths.text_head import LENGTH, TextDescent, TextWeights, cosines, read_text, scale_of, tune_text, without
from fewshot.renamed import renamed


class TaskRes(BesideWords):
    """Learns a residual r_n on each text vector: ``w_n = t_n + alpha r_n``, ``logits = scale cos(q, w_n)``.

    Adam on the support's cross-entropy from ``r = 0``, the rate falling along a cosine. Without support it is
    zero-shot.

    On texts the method alone stays up to 13 points below class means or zero-shot, so both are asked as well, and
    weighed by rows that are held out (`BesideWords`).

    Args:
        alpha: factor on the residual.
        steps: of Adam.
        lr: of Adam, for text vectors of length 10.
        scale: factor on cosines, that of the model; ``"auto"``: the one, 100 or less, that makes the labels of
            the support likeliest under the words, as encoders of sentences have none.
        words: weight of the words at one row a class, before any is held out; 0: words and class means are not asked.

    Raises:
        ValueError: a number out of range.

    The paper's setting: ``taskres(scale=100.0, words=0.0)``.

    Reference: Yu, Lu, Jin, Chen, Wang, "Task residual for tuning vision-language models", CVPR 2023,
    arXiv:2211.10277.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> TaskRes()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "taskres"
    needs = ("support", "text")
    invariant = ("scale",)

    @renamed(rate="lr")
    def __init__(
        self, alpha: float = 0.5, steps: int = 100, lr: float = 2e-3, scale: float | str = AUTO, words: float = 1.0
    ) -> None:
        super().__init__()
        check_words(words)
        check_auto("scale", scale)
        if alpha <= 0:
            raise ValueError(f"alpha={alpha}; it must be positive.")
        TextDescent(steps, lr, "adam").check()
        self.alpha = alpha
        self.steps = steps
        self.lr = lr
        self.scale = scale
        self.words = words

    def adapt_alone(self, episode: Support) -> TextWeights:
        """Learn the residuals."""
        known, how = read_text(episode), TextDescent(self.steps, self.lr, "adam")
        start = LENGTH * known.text
        scale = scale_of(self.scale, known)  # [E, 1, 1]
        weight = tune_text(start, known.support, known.one_hot, known.absent, scale, how, reach=self.alpha)
        return TextWeights(normalize(weight, dim=-1), known.absent, scale)

    def predict_alone(self, state: TextWeights, query: Tensor) -> Tensor:
        """Score the queries."""
        return without(state.scale * cosines(query, state.weight), state.absent)

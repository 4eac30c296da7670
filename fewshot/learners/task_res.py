"""TaskRes: a residual on the words, and nothing else, is learned."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.linalg import normalize
from fewshot.maths.spread import AUTO, check_auto
from fewshot.maths.text_head import LENGTH, TextDescent, TextWeights, cosines, read_text, scale_of, tune_text, without
from fewshot.renamed import renamed


class TaskRes(Learner):
    """Learns a residual r_n on each text vector: ``w_n = t_n + alpha r_n``, ``logits = scale cos(q, w_n)``.

    Adam on the support's cross-entropy from ``r = 0``, the rate falling along a cosine. Without support it is
    zero-shot.

    With the words of a sentence encoder it stays up to 12 points below class means (77 intents, 6 kinds of questions),
    at ``"auto"`` and at 100 alike; there `proker` or `cross-modal` use examples better.

    Args:
        alpha: factor on the residual.
        steps: of Adam.
        lr: of Adam, for text vectors of length 10.
        scale: factor on cosines, that of the model; ``"auto"``: the one, 100 or less, that makes the labels of
            the support likeliest under the words, as encoders of sentences have none.

    Raises:
        ValueError: a number out of range.

    CLIP's own scale: ``taskres(scale=100.0)``.

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
    def __init__(self, alpha: float = 0.5, steps: int = 100, lr: float = 2e-3, scale: float | str = AUTO) -> None:
        super().__init__()
        check_auto("scale", scale)
        if alpha <= 0:
            raise ValueError(f"alpha={alpha}; it must be positive.")
        TextDescent(steps, lr, "adam").check()
        self.alpha = alpha
        self.steps = steps
        self.lr = lr
        self.scale = scale

    def adapt(self, episode: Support) -> TextWeights:
        """Learn the residuals."""
        known, how = read_text(episode), TextDescent(self.steps, self.lr, "adam")
        start = LENGTH * known.text
        scale = scale_of(self.scale, known)  # [E, 1, 1]
        weight = tune_text(start, known.support, known.one_hot, known.absent, scale, how, reach=self.alpha)
        return TextWeights(normalize(weight, dim=-1), known.absent, scale)

    def predict(self, state: TextWeights, query: Tensor) -> Tensor:
        """Score the queries."""
        return without(state.scale * cosines(query, state.weight), state.absent)

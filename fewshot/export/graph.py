"""What an exported file computes: from pixels or features to probabilities, as one module without Python choices."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from fewshot.classifier.multi_label import margins
from fewshot.classifier.none_of_these import fit_of

if TYPE_CHECKING:
    from fewshot.encoders.encoder import Encoder
    from fewshot.encoders.preprocess import Preprocess
    from fewshot.learner import Learner


class Answer(NamedTuple):
    """What the graph gives for n rows."""

    probabilities: Tensor  # [n, N]
    rejected: Tensor  # [n], bool: answered by none of the classes


class Rules(NamedTuple):
    """How logits become answers, as `predict` and `predict_proba` do it."""

    temperature: float
    reject: float | None
    multi_label: bool
    logit_bias: float | None  # of a model trained with a sigmoid
    text: Tensor | None  # [N, D], with `anything` [W, D] and `least_fit`: what fits less is none of the classes
    anything: Tensor | None
    least_fit: tuple[float, float]


class Head(nn.Module):
    """Features ``[n, D]`` to answers: the learner with its state for one task (or for one task per class).

    Args:
        learner: inductive, in the precision of its rows; it is copied.
        state: what its `adapt` gave.
        tasks: E of the state.
        rules: see `Rules`.
    """

    least_fit: Tensor

    def __init__(self, learner: Learner, state: Any, tasks: int, rules: Rules) -> None:
        super().__init__()
        self.learner = copy.deepcopy(learner).cpu().eval()
        leaves, self._structure = pytree.tree_flatten(state)
        self._leaves = len(leaves)
        for number, leaf in enumerate(leaves):
            self.register_buffer(f"state{number}", leaf.detach().cpu().clone())
        self._tasks, self._rules = tasks, rules
        self.register_buffer("text", rules.text)
        self.register_buffer("anything", rules.anything)
        self.register_buffer("least_fit", torch.tensor(rules.least_fit))

    def forward(self, features: Tensor) -> Answer:
        """Probabilities and refusals of rows ``[n, D]``."""
        state = pytree.tree_unflatten([getattr(self, f"state{n}") for n in range(self._leaves)], self._structure)
        query = features.unsqueeze(0).expand(self._tasks, *features.shape)
        logits = self.learner.predict(state, query)  # [E, n, N]
        chances = self._probabilities(logits)  # [n, N]
        rejected = torch.zeros_like(chances[:, 0], dtype=torch.bool)
        if self._rules.reject is not None:
            rejected = chances.amax(1) < self._rules.reject
        if isinstance(self.anything, Tensor) and isinstance(self.text, Tensor):
            fit = fit_of(features.float(), self.text, self.anything)  # [n, 2]
            rejected = rejected | (fit < self.least_fit).any(1)
        return Answer(chances, rejected)

    def _probabilities(self, logits: Tensor) -> Tensor:
        rules = self._rules
        if not rules.multi_label:
            return (logits[0] / rules.temperature).softmax(1)
        logits = logits.transpose(0, 1)  # [n, C, 2], each class against nothing
        found = margins(logits) if rules.logit_bias is None else logits[..., 1] + rules.logit_bias
        return found.sigmoid()


class Pixels(nn.Module):
    """Cropped pixels ``[n, size, size, 3]``, 8-bit, to answers: normalisation, encoder and head.

    Features are rounded to float16 between the two, as `embed` stores them and as the head was fitted on.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, preprocess: Preprocess, head: Head, dtype: torch.dtype) -> None:
        super().__init__()
        self._encode: Callable[[Tensor], Tensor] = encoder.encode_images
        self.network = encoder.module
        self.head, self._dtype = head, dtype
        self.register_buffer("mean", torch.tensor(preprocess.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(preprocess.std).view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Answer:
        """Probabilities and refusals of pictures."""
        images = pixels.permute(0, 3, 1, 2).float() / 255
        images = (images - self.mean) / self.std  # [n, 3, size, size]
        features = self._encode(images).half().to(self._dtype)  # [n, D]
        answer: Answer = self.head(features)
        return answer

"""MetaOptNet: a support vector machine whose scale, and encoder in front, are learned through the solution."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.crammer_singer import SVMState, check, decide, fit
from fewshot.maths.outliers import distance_to_means


class MetaOptNet(Learner):
    """`SVM` with a learned scale, ``logits = exp(log_scale) W q``, trained through its quadratic program.

    The gradient of the solution is that of the implicit function theorem on the face of the simplices where the
    solution lies. Put an encoder in front: ``resnet12 | metaoptnet``. Untrained it is
    ``svm(means=0.0)`` with the same numbers.

    Args:
        C: weight of the losses against the penalty.
        scale: where the scale starts.
        gap: relative duality gap to end at.
        steps: at most.

    Raises:
        ValueError: an argument is out of range.

    Reference: Lee, Maji, Ravichandran, Soatto, "Meta-learning with differentiable convex optimization", CVPR
    2019, arXiv:1904.03758.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> learner = "metaoptnet"
        >>> training = meta_train(learner, digits, sampler, steps=3, lr=0.01, progress=False)
        >>> round(evaluate({"metaoptnet": training.learner}, digits, sampler, episodes=20)["metaoptnet"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "metaoptnet"

    def __init__(self, C: float = 0.1, scale: float = 10.0, gap: float = 1e-10, steps: int = 2000) -> None:
        super().__init__()
        check(C, gap, steps)
        if scale <= 0:
            raise ValueError(f"scale={scale}; it must be positive.")
        self.C, self.scale, self.gap, self.steps = C, scale, gap, steps
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def adapt(self, support: Support) -> SVMState:
        """Solve the dual."""
        return fit(support, self.C, self.gap, self.steps)

    def predict(self, state: SVMState, query: Tensor) -> Tensor:
        """Scaled decision values of the queries."""
        return decide(state, query, self.log_scale.exp().to(query))

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest class mean."""
        return distance_to_means(episode)

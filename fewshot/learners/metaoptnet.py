"""MetaOptNet: a support vector machine whose scale, and encoder in front, are learned through the solution."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from fewshot.learners.svm import SVM, SVMState


class MetaOptNet(SVM):
    """`SVM` with a learned scale, ``logits = exp(log_scale) W q``, trained through its quadratic program.

    The gradient of the solution is that of the implicit function theorem on the face of the simplices where the
    solution lies. Put an encoder in front: ``resnet12 | metaoptnet``. Untrained it is ``svm`` with the same numbers.

    Args:
        C: weight of the losses against the penalty.
        scale: where the scale starts.
        gap: relative duality gap to end at.
        steps: at most.

    Raises:
        ValueError: an argument is out of range.

    Reference: Lee, Maji, Ravichandran, Soatto, "Meta-learning with differentiable convex optimization", CVPR
    2019, arXiv:1904.03758.
    """

    name: ClassVar[str] = "metaoptnet"

    def __init__(self, C: float = 0.1, scale: float = 1.0, gap: float = 1e-10, steps: int = 2000) -> None:
        super().__init__(C, scale, gap, steps)
        if scale <= 0:
            raise ValueError(f"scale={scale}; it must be positive.")
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def predict(self, state: SVMState, query: Tensor) -> Tensor:
        """Scaled decision values of the queries."""
        return self.log_scale.exp().to(query) * super().predict(state, query) / self.scale

"""Whether a runtime computes what torch does, and whether anybody could tell once rows are stored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCES = {  # precision -> (least cosine, largest difference) to torch in the same precision
    "float32": (0.99999, 1e-3),
    "bfloat16": (0.9999, 5e-2),
    "float16": (0.9999, 1e-2),
}


@dataclass(frozen=True)
class Agreement:
    """How near the rows of a runtime are to those of torch.

    Attributes:
        cosine: the lowest, between a row and torch's.
        difference: the largest of a feature, as a share of the largest feature of its row.
    """

    cosine: float
    difference: float

    def holds(self, precision: str) -> bool:
        """Whether they are the same rows up to rounding; NaN is not."""
        least, most = TOLERANCES[precision]
        return self.cosine >= least and self.difference <= most

    def within(self, storage: torch.dtype) -> bool:
        """Whether the difference is at most what rounding to a storage type costs: half the spacing of its numbers.

        Then the rows of both are rows of one space; else the runtime has spaces of its own.
        """
        return self.difference <= torch.finfo(storage).eps / 2

    def __str__(self) -> str:
        return f"a cosine of {self.cosine:.6f}, and features up to {self.difference:.1e} of the largest away"


def agreement(found: Tensor, true: Tensor) -> Agreement:
    """Compare rows ``[M, D]`` with those of torch.

    >>> agreement(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 4.001]])).difference < 3e-4
    True
    >>> agreement(torch.zeros(1, 2), torch.zeros(1, 2)) == Agreement(1.0, 0.0)
    True
    """
    if found.shape != true.shape:
        return Agreement(float("nan"), float("inf"))
    found, true = found.double(), true.double()
    largest = true.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny)
    difference = float(((found - true).abs().amax(1) / largest).max())
    cosine = torch.where((found == true).all(1), 1.0, torch.cosine_similarity(found, true))
    return Agreement(float(cosine.min()), difference)

"""Transforms that look at each row alone, or only at the place and the spread of the support."""

from __future__ import annotations

from torch import Tensor

from episodes.episode import Support
from fewshot.learner import State
from fewshot.maths.linalg import normalize
from fewshot.maths.spread import spread_of_support
from fewshot.transforms.transform import Transform


class L2(Transform):
    """Scales each row to unit length: ``x / |x|``.

    Example:
        >>> import torch
        >>> from fewshot import load_transform
        >>> load_transform("l2")(torch.tensor([[[3.0, 4.0]]]), None)
        tensor([[[0.6000, 0.8000]]])
    """

    name = "l2"
    applies_to_text = True
    removes = ("scale",)

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Normalise."""
        return normalize(rows, dim=-1)


class Power(Transform):
    """Signed power ``sign(x) |x|^beta``: skewed features become more Gaussian, negative ones stay finite.

    Args:
        beta: the exponent, greater than 0.

    Reference: Hu, Gripon, Pateux, "Leveraging the feature distribution in transfer-based few-shot learning",
    ICANN 2021, arXiv:2006.03806 (for non-negative features).

    Example:
        >>> import torch
        >>> from fewshot import load_transform
        >>> load_transform("power")(torch.tensor([[[4.0, -9.0]]]), None)
        tensor([[[ 1.9990, -2.9990]]])
    """

    name = "power"

    def __init__(self, beta: float = 0.5) -> None:
        super().__init__()
        if not beta > 0:
            raise ValueError(f"beta={beta!r}; it must be greater than 0.")
        self.beta = beta

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Raise to the power."""
        # The small constant keeps the derivative finite at 0.
        return rows.sign() * ((rows.abs() + 1e-6) ** self.beta - 1e-6**self.beta)


class Rescale(Transform):
    """Centres on the mean m of the episode's support, and divides by its spread: ``(x - m) / sqrt(mean |x - m|²)``.

    Features of any size then have a mean squared length of 1, so that steps, temperatures and penalties mean the same
    on all of them. What learners call ``"auto"`` is a number on features that are rescaled so.

    Example:
        >>> import torch
        >>> from episodes import Support
        >>> from fewshot import load_transform
        >>> rows = Support(torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]), torch.tensor([[0, 1]]), way=2)
        >>> rescale = load_transform("rescale")
        >>> rescale(rows.support, rescale.adapt(rows))
        tensor([[[ 0.5883,  0.3922],
                 [-0.5883, -0.3922]]])
    """

    name = "rescale"

    def adapt(self, support: Support) -> State:
        """The mean ``[E, 1, D]`` and the root of the spread ``[E, 1, 1]``."""
        return spread_of_support(support)

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Subtract and divide."""
        return state.rescale(rows)

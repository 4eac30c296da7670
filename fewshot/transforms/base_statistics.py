"""Transforms by mean and spread of the features: those of base data, else those of each episode's support."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from episodes.episode import Support
from episodes.source import Source
from fewshot.learner import State
from fewshot.maths.linalg import normalize, product
from fewshot.transforms.transform import Transform

_ROWS = 65_536  # rows of the base data read at a time


class _Fitted(Transform):
    """A transform with statistics of base data; without them it uses the support of each episode."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(0))

    def fit(self, base: Source | Tensor) -> Transform:
        """Take the mean of base data ``[M, D]``."""
        total = sum(part.double().sum(0) for part in _parts(base))
        self.mean = (torch.as_tensor(total) / len(base)).float()
        self.removes = ()  # the same is subtracted wherever the rows lie
        return self

    def adapt(self, support: Support) -> State:
        """The mean that is subtracted ``[E, 1, D]``."""
        if self.mean.numel():
            return self.mean.to(support.support).expand(len(support), 1, -1)
        known = (support.labels >= 0).to(support.support.dtype).unsqueeze(1)  # [E, 1, S]
        if support.weights is not None:
            known = known * support.weights.to(known.dtype).unsqueeze(1)
        total = known.sum(-1, keepdim=True)  # [E, 1, 1]
        count = torch.where(total > 0, total, 1)
        mean = product(known, support.support) / count
        # Where rows lie far from zero, the sum has lost digits that what is left of it has not.
        return mean + product(known, support.support - mean) / count

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        for name in self._buffers:  # their size is that of the base data, unknown before
            if prefix + name in state_dict:
                self._buffers[name] = state_dict[prefix + name].clone()
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Centre(_Fitted):
    """Subtracts the mean of the base data, or of the episode's support where none was given: ``x - mean``.

    Example:
        >>> import torch
        >>> from episodes import Support
        >>> from fewshot import load_transform
        >>> rows = Support(torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]), torch.tensor([[0, 1]]), way=2)
        >>> centre = load_transform("centre")
        >>> centre(rows.support, centre.adapt(rows))
        tensor([[[ 1.5000,  1.0000],
                 [-1.5000, -1.0000]]])
    """

    name = "centre"
    removes = ("offset",)

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Subtract."""
        return rows - state


class CL2N(_Fitted):
    """SimpleShot's transform: subtract the mean of the base classes, then scale to unit length.

    Without base data the mean is that of the episode's support.

    Reference: Wang, Chao, Weinberger, van der Maaten, "SimpleShot: revisiting nearest-neighbor classification
    for few-shot learning", 2019, arXiv:1911.04623.

    Example:
        >>> import torch
        >>> from episodes import Support
        >>> from fewshot import load_transform
        >>> rows = Support(torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]), torch.tensor([[0, 1]]), way=2)
        >>> cl2n = load_transform("cl2n")
        >>> cl2n(rows.support, cl2n.adapt(rows))
        tensor([[[ 0.8321,  0.5547],
                 [-0.8321, -0.5547]]])
    """

    name = "cl2n"
    removes = ("offset", "scale")

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Subtract and normalise."""
        return normalize(rows - state, dim=-1)


class Standardise(_Fitted):
    """Brings each feature to mean 0 and variance 1: ``(x - mean_d) / std_d``, for columns of different units.

    Mean and standard deviation (of all rows, divided by their number) are those of the base data, or of the episode's
    support where none was given. A feature without any spread is only centred.

    Example:
        >>> import torch
        >>> from episodes import Support
        >>> from fewshot import load_transform
        >>> rows = Support(torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]), torch.tensor([[0, 1]]), way=2)
        >>> standardise = load_transform("standardise")
        >>> standardise(rows.support, standardise.adapt(rows))
        tensor([[[ 1.,  1.],
                 [-1., -1.]]])
    """

    name = "standardise"
    removes = ("offset", "scale")
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("std", torch.zeros(0))

    def fit(self, base: Source | Tensor) -> Transform:
        """Take mean and standard deviation of base data ``[M, D]``."""
        super().fit(base)
        total = sum((part.double() - self.mean.double()).square().sum(0) for part in _parts(base))
        self.std = _spread(torch.as_tensor(total) / len(base), self.mean.double()).float()
        return self

    def adapt(self, support: Support) -> State:
        """What is subtracted, and by what it is divided, each ``[E, 1, D]``."""
        mean = super().adapt(support)
        if self.std.numel():
            return mean, self.std.to(mean).expand_as(mean)
        known = (support.labels >= 0).to(mean.dtype)  # [E, S]
        known = known if support.weights is None else known * support.weights.to(mean.dtype)
        total = known.sum(1, keepdim=True)
        share = (known / torch.where(total > 0, total, 1)).unsqueeze(1)  # [E, 1, S]
        return mean, _spread(product(share, (support.support - mean).square()), mean)

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Subtract and divide."""
        mean, std = state
        return (rows - mean) / std


class Whiten(_Fitted):
    """Decorrelates with the covariance of base data: ``(x - mean) (Σ + shrinkage tr(Σ)/D I)^(-1/2)``.

    Args:
        shrinkage: share of the mean variance that is added to all directions.

    Example:
        >>> import torch
        >>> from fewshot import load_learner
        >>> base = torch.tensor([[3.0, 4.0], [0.0, 2.0], [2.0, 1.0]])  # rows of classes that are not tested
        >>> learner = load_learner("whiten | prototypes").fit(base)
        >>> learner.transforms[0].mean
        tensor([1.6667, 2.3333])
    """

    name = "whiten"
    matrix: Tensor

    def __init__(self, shrinkage: float = 0.1) -> None:
        super().__init__()
        self.shrinkage = shrinkage
        self.register_buffer("matrix", torch.zeros(0))

    def fit(self, base: Source | Tensor) -> Transform:
        """Take mean and covariance of base data ``[M, D]``."""
        super().fit(base)
        centre = self.mean.double()
        covariance = sum((part.double() - centre).mT @ (part.double() - centre) for part in _parts(base))
        covariance = torch.as_tensor(covariance) / len(base)  # [D, D]
        floor = self.shrinkage * covariance.diagonal().mean() + 1e-12
        values, vectors = torch.linalg.eigh(covariance)
        self.matrix = ((vectors * (values.clamp(min=0) + floor).rsqrt()) @ vectors.mT).float()
        return self

    def adapt(self, support: Support) -> State:
        """Needs base data: a few support rows cannot tell a covariance."""
        if not self.matrix.numel():
            raise ValueError(
                "whiten has no base data; load_transform('whiten').fit(base) with rows of other classes than "
                "those tested, or use 'centre' or 'cl2n', which can do without."
            )
        return super().adapt(support)

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Subtract and decorrelate."""
        return (rows - state) @ self.matrix.to(rows)


def _spread(variance: Tensor, mean: Tensor) -> Tensor:
    """Standard deviations; 1 where rows differ by no more than the rounding of their mean."""
    return torch.where(variance > (1e-6 * mean).square(), variance, 1).sqrt()


def _parts(base: Source | Tensor) -> Any:
    return (base[torch.arange(start, min(start + _ROWS, len(base)))] for start in range(0, len(base), _ROWS))

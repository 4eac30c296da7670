"""`deep-coral` and `mmd`: distances between the features of two domains, without parameters of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from episodes.inputs import check_whole
from fewshot.transfer.alignment.alignment import Alignment


class DeepCORAL(Alignment):
    """Adds ``weight |C_s - C_t|_F^2 / (4 D^2)``, C the covariances of the features in a batch of each domain.

    Means are not compared. The term depends on the fourth power of the scale of the features; the authors choose the
    weight so that it ends about as large as the cross-entropy.

    Args:
        weight: of the term.

    Reference: Sun, Saenko, "Deep CORAL: correlation alignment for deep domain adaptation", ECCV workshops 2016,
    arXiv:1607.01719.
    """

    name = "deep-coral"

    def forward(self, source: Tensor, target: Tensor, progress: float) -> Tensor:
        """The weighted distance of the covariances."""
        between = (_covariance(source) - _covariance(target)).square().sum()
        return self.weight * between / (4 * source.shape[1] ** 2)


class MMD(Alignment):
    """Adds ``weight MMD^2``, the mean of k over pairs within each domain less that over pairs across.

    ``MMD^2 = E k(s, s') + E k(t, t') - 2 E k(s, t)`` over all pairs of a batch, with k the mean of Gaussian kernels
    ``exp(-|a - b|^2 / (2^i h))``, i from ``-(kernels - 1) / 2`` to ``(kernels - 1) / 2``, and h the median of the
    squared distances in the batch, through which no gradient goes. All kernels count alike, and it is one layer that is
    aligned, the features; the authors learn the weights of the kernels and align several layers.

    Args:
        weight: of the term.
        kernels: how many, an odd number.

    Raises:
        ValueError: an even number of kernels.

    Reference: Long, Cao, Wang, Jordan, "Learning transferable features with deep adaptation networks", ICML 2015,
    arXiv:1502.02791 (DAN).
    """

    name = "mmd"

    def __init__(self, weight: float = 1.0, kernels: int = 5) -> None:
        super().__init__(weight)
        self.kernels = check_whole("kernels", kernels)
        if kernels % 2 == 0:
            raise ValueError(f"mmd(kernels={kernels}); it must be odd, so that their widths lie about the median.")

    def forward(self, source: Tensor, target: Tensor, progress: float) -> Tensor:
        """The weighted squared discrepancy."""
        rows, count = torch.cat([source, target]), len(source)
        rows = rows - rows.detach().mean(0)  # distances of centred rows keep their digits
        lengths = rows.square().sum(1)
        squares = (lengths.unsqueeze(1) + lengths - 2 * rows @ rows.mT).clamp(min=0)  # [B + U, B + U]
        off = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        middle = squares.detach()[off].median().clamp(min=torch.finfo(rows.dtype).tiny)
        half = self.kernels // 2
        kernel = torch.stack([(-squares / (2.0**i * middle)).exp() for i in range(-half, half + 1)]).mean(0)
        within = kernel[:count, :count].mean() + kernel[count:, count:].mean()
        return self.weight * (within - 2 * kernel[:count, count:].mean())


def _covariance(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0)
    return centred.mT @ centred / max(len(rows) - 1, 1)  # [D, D]

"""SimSiam: two views of a picture predict one another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot.unsupervised.method import Method, matched_views, perceptron


class SimSiam(Method):
    """``loss = -(cos(p_1, z_2) + cos(p_2, z_1)) / 2``: no gradient goes through z, without which all would collapse.

    z is a projection of the features of a view, p a prediction made from it.

    Args:
        dim: of z.
        bottleneck: hidden layer of the predictor.

    Reference: Chen, He, "Exploring simple Siamese representation learning", CVPR 2021, arXiv:2011.10566.
    """

    name, augment = "simsiam", "crop(0.4)"

    def __init__(self, dim: int = 256, bottleneck: int = 64) -> None:
        super().__init__()
        if dim < 2 or bottleneck < 1:
            raise ValueError(f"simsiam(dim={dim!r}, bottleneck={bottleneck!r}); at least 2, and at least 1.")
        self.dim, self.bottleneck = dim, bottleneck

    def begin(self, features: int, picture: tuple[int, ...]) -> None:
        """Projector of three layers, predictor of two."""
        self.projector = perceptron(features, self.dim, self.dim, self.dim)
        self.predictor = perceptron(self.dim, self.bottleneck, self.dim, last="plain")

    def forward(
        self, network: Callable[[Tensor], Tensor], pictures: Tensor, change: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Loss, and the share of rows that find their other view."""
        z = [self.projector(network(change(pictures))) for _ in range(2)]
        p = [self.predictor(part) for part in z]
        return simsiam_loss(p[0], p[1], z[0], z[1]), matched_views(z[0], z[1])


def simsiam_loss(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """``-(cos(p_1, z_2) + cos(p_2, z_1)) / 2``, mean over rows ``[B, D]``."""
    pairs = ((p1, z2), (p2, z1))
    cosines = [F.cosine_similarity(p.float(), z.detach().float(), dim=1).mean() for p, z in pairs]
    return -torch.stack(cosines).mean()

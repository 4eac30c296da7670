"""What an encoder knows: how unlike its training pictures a row is, by their features."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

FILE = "domain.safetensors"
_RIDGE = 1e-4  # of the mean variance, so that directions without variance do not decide
_SHARE = 0.01  # of the training pictures lie beyond the limit


class Domain(NamedTuple):
    """Mean and covariance of unit features of the training pictures, and the distance that 99 % of them keep.

    ``distance = |(x / |x| - mean) W|^2``, W the inverse of the covariance's Cholesky factor: Mahalanobis distance.

    Reference: Lee, Lee, Lee, Shin, "A simple unified framework for detecting out-of-distribution samples and
    adversarial attacks", NeurIPS 2018, arXiv:1807.03888, without classes.
    """

    mean: Tensor  # [D]
    whiten: Tensor  # [D, D]
    limit: Tensor  # scalar

    def outside(self, features: Tensor) -> Tensor:
        """Which rows ``[n, D]`` are unlike all that was trained on ``[n]``."""
        return self.distance(features) > self.limit

    def distance(self, features: Tensor) -> Tensor:
        """How far rows lie from the training pictures ``[n]``."""
        centred = normalize(features.float(), dim=-1) - self.mean
        return (centred @ self.whiten).square().sum(-1)


def fit_domain(features: Tensor, held_out: Tensor) -> Domain:
    """The domain of some pictures ``[M, D]``; the limit comes from others ``[n, D]``."""
    units = normalize(features.double(), dim=-1)
    covariance = torch.cov(units.T)
    covariance += _RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    whiten = torch.linalg.inv(torch.linalg.cholesky(covariance)).mT
    found = Domain(units.mean(0).float(), whiten.float(), torch.tensor(torch.inf))
    return found._replace(limit=found.distance(held_out).quantile(1 - _SHARE))


def save_domain(domain: Domain, folder: Path) -> None:
    """Write it beside the weights."""
    from safetensors.torch import save

    from episodes.files import write_atomically

    write_atomically(folder / FILE, save({name: part.contiguous() for name, part in domain._asdict().items()}))


def read_domain(folder: Path) -> Domain:
    """What `save_domain` wrote."""
    from safetensors.torch import load_file

    return Domain(**load_file(folder / FILE))

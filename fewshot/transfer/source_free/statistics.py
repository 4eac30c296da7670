"""`adabn`: batch norms that normalise by the statistics of the target."""

from __future__ import annotations

from fewshot.transfer.source_free.method import SourceFree
from fewshot.transfer.strategies import Norm


class AdaBN(Norm, SourceFree):
    """Running means and variances of batch norms are taken anew from target rows; no weight changes.

    Each batch counts the same: the running mean is the mean of the batch means, the running variance that of the
    (unbiased) batch variances.

    Reference: Li, Wang, Shi, Hou, Liu, "Adaptive batch normalization for practical domain adaptation", Pattern
    Recognition 80 (2018), arXiv:1603.04779.
    """

    name, trains = "adabn", False

    def __init__(self) -> None:
        super().__init__()

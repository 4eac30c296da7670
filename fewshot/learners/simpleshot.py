"""SimpleShot: the nearest class mean of well-normalised features."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from episodes.source import Source
from fewshot.learner import Learner
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.linalg import class_means, product
from fewshot.transforms import CL2N, L2

NORMALISATIONS = ("cl2n", "l2n", "un")


class SimpleShotState(NamedTuple):
    """Class means of normalised rows, what their logits begin with, and what is subtracted from queries."""

    prototypes: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]
    centre: Tensor  # [E, 1, D]


class SimpleShot(Learner):
    """Classifies by the nearest class mean after one of the paper's normalisations.

    ``"un"``: features as they are; ``"l2n"``: of length one; ``"cl2n"``: the mean of base data subtracted, then of
    length one. ``logits = -|q - p_n|²`` (up to ``|q|²``). The same as ``cl2n | prototypes``, under its own name.

    Args:
        normalisation: one of these. For ``"cl2n"``, ``fit(base)`` gives the mean; without it the mean of the
            support stands in.

    Raises:
        ValueError: an unknown normalisation.

    Reference: Wang, Chao, Weinberger, van der Maaten, "SimpleShot: revisiting nearest-neighbor classification
    for few-shot learning", 2019, arXiv:1911.04623.
    """

    name: ClassVar[str] = "simpleshot"
    weighted = True

    def __init__(self, normalisation: str = "cl2n") -> None:
        super().__init__()
        if normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation={normalisation!r}; it must be one of {', '.join(NORMALISATIONS)}.")
        self.normalisation = normalisation
        self.invariant = {"cl2n": ("offset", "scale"), "l2n": ("scale",), "un": ("offset", "scale")}[normalisation]
        self.centring = CL2N()

    def fit(self, base: Source | Tensor) -> SimpleShot:
        """Take the mean of base data ``[M, D]`` of other classes than those tested; returns itself."""
        self.centring.fit(base)
        self.invariant = () if self.normalisation == "cl2n" else self.invariant  # the mean stays where it is
        return self

    def adapt(self, support: Support) -> SimpleShotState:
        """Normalise and average the support."""
        if self.normalisation == "cl2n":
            centre = self.centring.adapt(support)
        else:
            centre = relative_to_centre(support).offset
        prototypes, shots = class_means(support.replace(support=self._normalised(support.support, centre)))
        bias = -prototypes.square().sum(-1)
        return SimpleShotState(prototypes, bias.masked_fill(shots == 0, -torch.inf), centre)

    def predict(self, state: SimpleShotState, query: Tensor) -> Tensor:
        """Normalise the queries and score them."""
        rows = self._normalised(query, state.centre)
        return 2 * product(rows, state.prototypes.mT) + state.bias.unsqueeze(1)  # [E, Q, N]

    def _normalised(self, rows: Tensor, centre: Tensor) -> Tensor:
        if self.normalisation == "un":
            return shifted(rows, centre)
        return self.centring(rows, centre) if self.normalisation == "cl2n" else L2()(rows, centre)

"""LaplacianShot: nearest prototypes, made consistent among neighbouring queries."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.affinity import adjacency, nearest_others, squared_distances
from fewshot.maths.centring import shifted
from fewshot.maths.linalg import product
from fewshot.maths.transduction import SupportState, keep_support, rectify


class LaplacianShot(Learner):
    """Assigns queries to prototypes so that neighbouring queries tend to agree.

    With ``a_qn = |q - p_n|²`` and the 0/1 matrix W of each query's nearest other queries, it repeats
    ``y_q = softmax(-a_q + regularisation Σ_r W_qr y_r)``, which minimises a bound of a Laplacian-regularised
    assignment cost. The logits are the argument of the last softmax.

    Meant for features of length one (``l2 | laplacian-shot``), centred where base data is at hand
    (``cl2n | laplacian-shot``); centring on the few rows of a support alone does more harm than good.

    Args:
        neighbours: nearest other queries that a query listens to.
        regularisation: weight of agreement (λ).
        steps: of the bound optimisation.
        rectify: move the prototypes by the queries first, as in `BDCSPN`; it assumes that the queries hold the
            classes in about equal shares.
        sharpness: of the rectification.

    Raises:
        ValueError: neighbours or steps is below 1.

    The paper's setting: ``cl2n | laplacian-shot(regularisation=0.7, rectify=True)`` at 1 shot, 0.1 to 0.3 at 5 shots.

    Reference: Ziko, Dolz, Granger, Ben Ayed, "Laplacian regularized few-shot learning", ICML 2020,
    arXiv:2006.15486.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> results = evaluate(["laplacian-shot"], digits, sampler, episodes=20)
        >>> round(results["laplacian-shot"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "laplacian-shot"
    transductive = True

    def __init__(
        self,
        neighbours: int = 2,
        regularisation: float = 0.3,
        steps: int = 20,
        rectify: bool = False,
        sharpness: float = 10.0,
    ) -> None:
        super().__init__()
        if neighbours < 1 or steps < 1:
            raise ValueError(f"neighbours={neighbours}, steps={steps}; both must be at least 1.")
        self.neighbours = neighbours
        self.regularisation = regularisation
        self.steps = steps
        self.rectify = rectify
        self.sharpness = sharpness
        self.invariant = () if rectify else ("offset",)

    def adapt(self, support: Support) -> SupportState:
        """Keep the support."""
        return keep_support(support, relative=not self.rectify)

    def predict(self, state: SupportState, query: Tensor) -> Tensor:
        """Assign all queries together."""
        prototypes, query = state.prototypes, shifted(query, state.offset)
        if self.rectify:
            prototypes, _, _ = rectify(state, query, self.sharpness)
        unary = -squared_distances(prototypes, query)  # [E, N, Q]: classes first, the fast way to a softmax over few
        unary = unary.masked_fill(state.absent.unsqueeze(-1), -torch.inf)
        graph = nearest_others(query, self.neighbours)  # [E, Q, k]
        listens = self.regularisation * adjacency(graph, query.dtype).mT  # [E, Q, Q]
        logits = unary
        for _ in range(self.steps):
            logits = unary + product(logits.softmax(1), listens)
        return logits.mT

"""PT-MAP: power-transformed features, and class means by optimal transport."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.blocks import in_blocks
from fewshot.maths.linalg import normalize, product
from fewshot.maths.transduction import SupportState, keep_support
from fewshot.maths.transport import transport
from fewshot.renamed import renamed

_OFFSET = 1e-6


class PTMAP(Learner):
    """Assigns the queries to the classes by optimal transport, and moves the class means to fit.

    Features become ``sign(x) (|x| + 1e-6)^power`` (of non-negative features that is the paper's transform), then
    support and queries are each brought to length one, centred by their own mean, and to length one again.
    `steps` times: the plan P minimises ``Σ P_qn |q - w_n|² - H(P) / sharpness`` among plans whose rows sum to 1 and
    whose columns follow the prior, and ``w_n += lr (mean of the support of n and the queries, weighted - w_n)``.
    The logits are ``log P`` of the last plan.

    With the uniform prior it *assumes balanced queries*, Q / N of each class: where that is not so, it is
    worse than plain prototypes.

    Args:
        query_prior: ``"uniform"``: every class has as many queries, as in the paper; ``"free"``: nothing is
            assumed of the columns, and assignments are a softmax.
        steps: moves of the class means.
        lr: share of the way that a move goes.
        sharpness: of the transport (λ).
        power: of the transform (β).
        normalise: bring to length one and centre, as described; False: only the power.
        marginal_tolerance: on what each class gets in a plan, relative to Q / N.

    Raises:
        ValueError: an unknown prior, or an argument out of range.

    Reference: Hu, Gripon, Pateux, "Leveraging the feature distribution in transfer-based few-shot learning",
    ICANN 2021, arXiv:2006.03806.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=1, query=15)
        >>> results = evaluate(["prototypes", "pt-map"], digits, sampler, episodes=20)
        >>> round(results["prototypes"].mean, 1), round(results["pt-map"].mean, 1)
        (0.7, 0.9)
    """

    name: ClassVar[str] = "pt-map"
    transductive = True

    @renamed(rate="lr")
    def __init__(
        self,
        query_prior: str = "uniform",
        steps: int = 20,
        lr: float = 0.2,
        sharpness: float = 10.0,
        power: float = 0.5,
        normalise: bool = True,
        marginal_tolerance: float = 1e-6,
    ) -> None:
        super().__init__()
        if query_prior not in ("uniform", "free"):
            raise ValueError(
                f"query_prior={query_prior!r}; it must be 'uniform' (as many queries of each class) or 'free' "
                "(nothing is assumed)."
            )
        if steps < 1 or not 0 < lr <= 1 or power <= 0 or marginal_tolerance <= 0:
            raise ValueError(
                f"steps={steps}, lr={lr}, power={power}, "
                f"marginal_tolerance={marginal_tolerance}; steps must be at least 1, lr in 0..1, the others positive."
            )
        self.query_prior = query_prior
        self.steps = steps
        self.lr = lr
        self.sharpness = sharpness
        self.power = power
        self.normalise = normalise
        self.marginal_tolerance = marginal_tolerance

    def adapt(self, support: Support) -> SupportState:
        """Transform and keep the support."""
        rows = self._powered(support.support.clone())
        if self.normalise:
            rows = normalize(rows)
            known = (support.labels >= 0).unsqueeze(-1).to(rows.dtype)  # [E, S, 1]
            mean = (rows * known).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
            # A single row would be centred onto zero: it stays where it is.
            rows = normalize(torch.where(known.sum(1, keepdim=True) > 1, rows - mean, rows), dim=-1)
        return keep_support(support.replace(support=rows, unlabelled=None))

    def predict(self, state: SupportState, query: Tensor) -> Tensor:
        """Alternate between plans and class means."""
        # The means stay combinations of the rows, and distances need only their inner products: from here on
        # nothing depends on D.
        known = state.support.shape[1]
        inner = in_blocks(self._inner, state.support, query)  # [E, S + Q, S + Q]
        shots = state.one_hot.sum(1).unsqueeze(-1)  # [E, N, 1]
        zeros = query.new_zeros(len(query), shots.shape[1], query.shape[1])
        labelled, absent = state.one_hot.mT, state.absent.unsqueeze(-1)
        weight = torch.cat([labelled / shots.clamp(min=1), zeros], -1)  # [E, N, S + Q]
        present = (~state.absent).to(query.dtype)
        columns = query.shape[1] * present / present.sum(-1, keepdim=True).clamp(min=1)  # [E, N]
        scaling: list[Tensor] = []
        for step in range(self.steps + 1):
            mixed = product(weight, inner)  # [E, N, S + Q]
            own = torch.linalg.vecdot(mixed, weight).unsqueeze(-1)  # [E, N, 1]
            # |q - w_n|² but for |q|², which no plan sees, [E, N, Q]
            cost = (own - 2 * mixed[..., known:]).masked_fill(absent, torch.inf)
            plan = self._plan(cost, columns, scaling)
            if step < self.steps:
                means = torch.cat([labelled, plan], -1) / (shots + plan.sum(-1, keepdim=True)).clamp(min=_OFFSET)
                weight = torch.lerp(weight, means, self.lr)
        plan = plan.clamp(min=torch.finfo(query.dtype).tiny)
        return plan.log().masked_fill(absent, -torch.inf).mT

    def _inner(self, support: Tensor, query: Tensor) -> Tensor:
        rows = self._powered(query.clone())
        if self.normalise:
            rows = normalize(rows)
            rows = normalize(rows - rows.mean(1, keepdim=True)) if rows.shape[1] > 1 else rows
        rows = torch.cat([support, rows], 1)
        rows.sub_(rows.mean(1, keepdim=True))  # fewer digits cancel in the distances
        return rows @ rows.mT  # not skinny, so that torch is the faster one

    def _powered(self, rows: Tensor) -> Tensor:
        """The transform, in place."""
        signs = rows.sign()
        return rows.abs_().add_(_OFFSET).pow_(self.power).mul_(signs)

    def _plan(self, cost: Tensor, columns: Tensor, scaling: list[Tensor]) -> Tensor:
        """The plan ``[E, N, Q]``, from the scalings of those before, to which it adds its own."""
        if self.query_prior == "free":
            return (-self.sharpness * cost).softmax(1)
        # Moves shrink by 1 - lr from step to step, and so do those of the scalings.
        start = None
        if scaling:
            start = torch.lerp(scaling[-2], scaling[-1], 2 - self.lr) if len(scaling) > 1 else scaling[-1]
        plan, found = transport(cost, columns, self.sharpness, self.marginal_tolerance, start)
        scaling.append(found)
        return plan.to(cost.dtype)

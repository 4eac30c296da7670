"""TIM-ADM: TIM's objective by alternating closed-form updates."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.centring import shifted
from fewshot.maths.linalg import product
from fewshot.maths.prototype_head import PrototypeHead
from fewshot.maths.spread import AUTO, check_auto
from fewshot.maths.transduction import SupportState, keep_support, rescaled

_AUTO = 10.0  # chosen by benchmarks/defaults.py


class TIMADM(Learner):
    """Maximises the mutual information of queries and labels by the alternating direction method.

    With ``p = softmax(-scale/2 |x - w_n|²)``, each step sets auxiliary labels of the queries,
    ``z_qn ∝ p_qn^(1+conditional) / (Σ_q p_qn^(1+conditional))^β`` with ``β = marginal / (marginal + 1)``, and then
    the class vectors, with c = cross_entropy / (1 + conditional) and S and Q rows,

    ``w_n = [c Σ_s (y_sn x_s + p_sn (w_n - x_s)) + S/Q Σ_q (z_qn x_q + p_qn (w_n - x_q))]``
    ``/ [c Σ_s y_sn + S/Q Σ_q z_qn]``.

    It *assumes balanced queries*, more strongly than `TIM`.

    Args:
        steps: alternations.
        scale: factor on the logits (τ); ``"auto"``: 10, and rows are first brought to a mean square distance of 1 from
            the mean of the support, so that neither offset nor size of the features matters.
        cross_entropy: weight of the support's loss.
        marginal: weight of the entropy of the mean prediction.
        conditional: weight of the mean entropy of predictions.
        momentum: share of the way to the new class vectors that a step goes. With the paper's 1, assignments among
            dozens of classes swing to and fro, and rounding decides where they end.

    Raises:
        ValueError: steps is below 1, or momentum not in 0..1.

    The paper's setting: ``cl2n | tim-adm(scale=15.0)``, with base data for `cl2n`.

    Reference: Boudiaf, Masud, Rony, Dolz, Piantanida, Ben Ayed, "Transductive information maximization for
    few-shot learning", NeurIPS 2020, arXiv:2008.11297, section 3.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=1, query=15)
        >>> results = evaluate(["prototypes", "tim-adm"], digits, sampler, episodes=20)
        >>> round(results["prototypes"].mean, 1), round(results["tim-adm"].mean, 1)
        (0.7, 0.8)
    """

    name: ClassVar[str] = "tim-adm"
    invariant = ("offset",)
    transductive = True

    def __init__(
        self,
        steps: int = 150,
        scale: float | str = AUTO,
        cross_entropy: float = 0.1,
        marginal: float = 1.0,
        conditional: float = 0.1,
        momentum: float = 0.3,
    ) -> None:
        super().__init__()
        check_auto("scale", scale)
        if steps < 1 or not 0 < momentum <= 1:
            raise ValueError(f"steps={steps}, momentum={momentum}; steps must be at least 1, momentum in 0..1.")
        self.steps = steps
        self.scale = scale
        self.cross_entropy = cross_entropy
        self.marginal = marginal
        self.conditional = conditional
        self.momentum = momentum

    def adapt(self, support: Support) -> SupportState:
        """Keep the support."""
        return keep_support(support, relative=True)

    def predict(self, state: SupportState, query: Tensor) -> Tensor:
        """Alternate between labels and class vectors, then score the queries."""
        query = shifted(query, state.offset)
        scale = _AUTO if isinstance(self.scale, str) else self.scale
        if self.scale == AUTO:
            state, query = rescaled(state, query)
        unlabelled = PrototypeHead("squared", scale, query, state.absent, state.prototypes)
        supported = PrototypeHead("squared", scale, state.support, state.absent, state.prototypes)
        known = state.one_hot.sum(-1, keepdim=True)  # [E, S, 1]
        ratio = known.sum(1, keepdim=True) / query.shape[1]  # [E, 1, 1]
        weight, share = state.prototypes, self.cross_entropy / (1 + self.conditional)
        labelled = product(state.one_hot.mT, state.support)  # [E, N, D]
        shots = state.one_hot.sum(1).unsqueeze(-1)  # [E, N, 1]
        for _ in range(self.steps):
            p = unlabelled.logits(weight).softmax(-1)  # [E, Q, N]
            q = supported.logits(weight).softmax(-1) * known  # [E, S, N]
            z = self._labels(p)
            # Σ z x + p (w - x) = Σ (z - p) x + w Σ p, in one product.
            top = share * (labelled + q.sum(1).unsqueeze(-1) * weight - product(q.mT, state.support))
            top = top + ratio * (product((z - p).mT, query) + p.sum(1).unsqueeze(-1) * weight)
            bottom = share * shots + ratio * z.sum(1).unsqueeze(-1)
            target = top / bottom.clamp(min=torch.finfo(bottom.dtype).tiny)
            weight = torch.lerp(weight, torch.where(shots > 0, target, weight), self.momentum)
        return unlabelled.logits(weight)

    def _labels(self, p: Tensor) -> Tensor:
        sharp = p.pow(1 + self.conditional)
        total = sharp.sum(1, keepdim=True).clamp(min=torch.finfo(p.dtype).tiny)  # [E, 1, N]
        labels = sharp / total.pow(self.marginal / (self.marginal + 1))
        return labels / labels.sum(-1, keepdim=True).clamp(min=torch.finfo(p.dtype).tiny)

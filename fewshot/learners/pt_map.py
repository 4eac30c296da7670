"""PT-MAP: power-transformed features, and class means by optimal transport."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.affinity import squared_distances
from fewshot.maths.blocks import in_blocks
from fewshot.maths.centring import shifted
from fewshot.maths.experts import left_out, sharpness_of_means, weigh_experts
from fewshot.maths.held_out import folds_by_value
from fewshot.maths.linalg import normalize, product
from fewshot.maths.spread import spread
from fewshot.maths.transduction import SupportState, keep_support
from fewshot.maths.transport import transport
from fewshot.renamed import renamed

_OFFSET = 1e-6
_FOLDS = 2


class PTMAPState(NamedTuple):
    """The support, transformed, and class means of the features as they came."""

    support: SupportState
    fold: Tensor  # [E, S], in which each support row is held out
    plain: SupportState


class PTMAP(Learner):
    """Assigns the queries to the classes by optimal transport, and moves the class means to fit.

    Features become ``sign(x) (|x| + 1e-6)^power`` (of non-negative features that is the paper's transform), then
    support and queries are each brought to length one, centred by their own mean, and to length one again.
    `steps` times: the plan P minimises ``Σ P_qn |q - w_n|² + (tightness Σ_n s_n log(s_n N / Q) - H(P)) / sharpness``
    among plans whose rows sum to 1, with columns that sum to s_n, and ``w_n += lr (mean of the support of n and the
    queries, weighted - w_n)``. P is then that of the last means.

    In the paper every class gets Q / N queries exactly. That gains up to 2 points where it is so, and loses up to 18
    where it is not. Here it is a prior: a class whose share is half of that is given log(2) `tightness` more in its
    logits. So classes that overlap still get about as much, and where clusters are clear they decide.

    Queries are many more than examples, so that the means end where queries are dense. Where that is not in the
    classes, as of two moods of texts, class means answer better, by 4 points. So these are asked as well,
    ``logits = a log P_q + b m_q + c m'_q`` with ``m_qn = -10 K / (K + 1) |q - p_n|² / r²`` for K rows a class of root
    mean square distance r from their mean, and m' the same of rows that were not transformed. The weights are those
    under which labelled rows are likeliest when they are held out, near to 1, `means` and 0 where there are few
    (`weigh_experts`); for that the means are moved by each half of the support as well. At one row a class there is
    nothing to hold out.

    Args:
        query_prior: ``"uniform"``: every class has about as many queries; ``"free"``: nothing is assumed of the
            columns, and assignments are a softmax.
        steps: moves of the class means.
        lr: share of the way that a move goes.
        sharpness: of the transport (λ).
        power: of the transform (β).
        normalise: bring to length one and centre, as described; False: only the power.
        marginal_tolerance: on what each class gets in a plan, relative to Q / N.
        tightness: of the uniform prior; None: every class gets Q / N, as in the paper.
        means: weight of class means before any example has been held out; 0: they are not asked, and ``logits = log P``
            as in the paper.

    Raises:
        ValueError: an unknown prior, or an argument out of range.

    The paper's setting: ``pt-map(steps=20, lr=0.2, tightness=None, means=0.0)``.

    Reference: Hu, Gripon, Pateux, "Leveraging the feature distribution in transfer-based few-shot learning",
    ICANN 2021, arXiv:2006.03806.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=1, query=15)
        >>> results = evaluate(["prototypes", "pt-map"], digits, sampler, episodes=20)
        >>> round(results["prototypes"].mean, 1), round(results["pt-map"].mean, 1)
        (0.7, 0.8)
    """

    name: ClassVar[str] = "pt-map"
    transductive = True

    @renamed(rate="lr")
    def __init__(
        self,
        query_prior: str = "uniform",
        steps: int = 10,
        lr: float = 0.4,
        sharpness: float = 10.0,
        power: float = 0.5,
        normalise: bool = True,
        marginal_tolerance: float = 1e-6,
        tightness: float | None = 1.0,
        means: float = 1.0,
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
        if (tightness is not None and not 0 < tightness < float("inf")) or not 0 <= means < float("inf"):
            raise ValueError(
                f"tightness={tightness}, means={means}; tightness must be positive and finite, or None (every class "
                "gets Q / N), and means at least 0 and finite."
            )
        self.query_prior = query_prior
        self.steps = steps
        self.lr = lr
        self.sharpness = sharpness
        self.power = power
        self.normalise = normalise
        self.marginal_tolerance = marginal_tolerance
        self.tightness = tightness
        self.means = means

    def adapt(self, support: Support) -> PTMAPState:
        """Transform and keep the support."""
        fold = folds_by_value(support, _FOLDS) if self.means else torch.zeros_like(support.labels)
        plain = keep_support(support, relative=True)
        rows = self._powered(support.support.clone())
        if self.normalise:
            rows = normalize(rows)
            known = (support.labels >= 0).unsqueeze(-1).to(rows.dtype)  # [E, S, 1]
            mean = (rows * known).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
            # A single row would be centred onto zero: it stays where it is.
            rows = normalize(torch.where(known.sum(1, keepdim=True) > 1, rows - mean, rows), dim=-1)
        return PTMAPState(keep_support(support.replace(support=rows, unlabelled=None)), fold, plain)

    def predict(self, state: PTMAPState, query: Tensor) -> Tensor:
        """Alternate between plans and class means, and ask those of the support as well."""
        support, known = state.support, state.support.support.shape[1]
        # The means stay combinations of the rows, and distances need only their inner products: from here on
        # nothing depends on D.
        inner = in_blocks(self._inner, support.support, query)  # [E, S + Q, S + Q]
        logits = self._planned(inner, support.one_hot.unsqueeze(1))[:, 0, known:].log_softmax(-1)  # [E, Q, N]
        if self.means:
            by_means = _by_means(support, inner)  # [E, S + Q, N]
            if bool((support.one_hot.sum(1) > 1).any()):
                plainly = _plainly(state.plain, shifted(query, state.plain.offset))  # [E, Q, N]
                weights = self._weights(state, inner, by_means[:, :known]).unsqueeze(1)  # [E, 1, 3]
                experts = torch.stack([logits, by_means[:, known:], plainly], -1)  # [E, Q, N, 3]
                logits = (experts * weights.unsqueeze(1)).sum(-1)
            else:  # nothing can be held out
                logits = logits + self.means * by_means[:, known:]
        return logits.masked_fill(support.absent.unsqueeze(1), -torch.inf)

    def _planned(self, inner: Tensor, one_hot: Tensor) -> Tensor:
        """Logits of all rows ``[E, F, S + Q, N]`` as in the last plan, by labels of F copies ``[E, F, S, N]``."""
        shots, labelled = one_hot.sum(2).unsqueeze(-1), one_hot.mT  # [E, F, N, 1], [E, F, N, S]
        absent, known, asked = shots == 0, one_hot.shape[2], inner.shape[1] - one_hot.shape[2]
        zeros = inner.new_zeros(*shots.shape[:3], asked)
        weight = torch.cat([labelled / shots.clamp(min=1), zeros], -1)  # [E, F, N, S + Q]
        present = (~absent.squeeze(-1)).flatten(0, 1).to(inner.dtype)  # [E * F, N]
        columns = asked * present / present.sum(-1, keepdim=True).clamp(min=1)
        scaling: list[Tensor] = []
        what = "pt-map" if one_hot.shape[1] == 1 else "pt-map by halves of the support"
        for step in range(self.steps + 1):
            mixed = product(weight.flatten(1, 2), inner).view_as(weight)
            own = torch.linalg.vecdot(mixed, weight).unsqueeze(-1)  # [E, F, N, 1]
            # |x - w_n|² but for |x|², which no plan sees
            cost = (own - 2 * mixed).masked_fill(absent, torch.inf)  # [E, F, N, S + Q]
            plan, g = self._plan(cost[..., known:].flatten(0, 1), columns, scaling, what)
            if step < self.steps:
                plan = plan.view_as(zeros)
                means = torch.cat([labelled, plan], -1) / (shots + plan.sum(-1, keepdim=True)).clamp(min=_OFFSET)
                weight = torch.lerp(weight, means, self.lr)
        return (g.view_as(own) - self.sharpness * cost).mT.to(inner.dtype)

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

    def _plan(self, cost: Tensor, columns: Tensor, scaling: list[Tensor], what: str) -> tuple[Tensor, Tensor]:
        """The plan ``[B, N, Q]`` and its scalings, from those of the plans before, to which it adds its own."""
        if self.query_prior == "free":
            return (-self.sharpness * cost).softmax(1), torch.zeros_like(columns)
        # Moves shrink by 1 - lr from step to step, and so do those of the scalings.
        start = None
        if scaling:
            start = torch.lerp(scaling[-2], scaling[-1], 2 - self.lr) if len(scaling) > 1 else scaling[-1]
        plan, found = transport(
            cost, columns, self.sharpness, self.marginal_tolerance, start, tightness=self.tightness, what=what
        )
        scaling.append(found)
        return plan.to(cost.dtype), found

    @torch.no_grad()
    def _weights(self, state: PTMAPState, inner: Tensor, by_means: Tensor) -> Tensor:
        """Of log P and of class means, transformed and plain ``[E, 3]``, by what they say of held-out rows."""
        support, one_hot = state.support, state.support.one_hot
        numbers = torch.arange(_FOLDS, device=inner.device).view(-1, 1, 1)
        left = one_hot.unsqueeze(1) * (state.fold.view(len(inner), 1, -1, 1) != numbers)  # [E, F, S, N]
        # A class of which nothing would remain keeps all.
        left = torch.where(left.any(2, keepdim=True), left, one_hot.unsqueeze(1))
        held_out = one_hot.unsqueeze(1) - left
        planned = self._planned(inner, left)[:, :, : one_hot.shape[1]].log_softmax(-1)  # [E, F, S, N]
        by_plan = torch.where(held_out.any(-1, keepdim=True), planned, 0).sum(1)  # each row is held out once at most
        without = left_out(one_hot, one_hot.sum(1)).square()  # [E, S, N]
        plainly = _plainly(state.plain, state.plain.support)
        seen = torch.stack([by_plan, by_means * without, plainly * without], -1)  # [E, S, N, 3]
        seen = seen.masked_fill(support.absent.view(len(inner), 1, -1, 1), -torch.inf)
        exact = torch.float32 if inner.device.type == "mps" else torch.float64
        before = (1.0, self.means, 0.0)
        return weigh_experts(seen.to(exact), held_out.sum(1).to(exact), before).to(inner.dtype)


def _by_means(support: SupportState, inner: Tensor) -> Tensor:
    """Log likelihoods of all rows under class means of the support ``[E, S + Q, N]``."""
    one_hot = support.one_hot
    shots, known = one_hot.sum(1), one_hot.shape[1]  # [E, N]
    share = one_hot / shots.unsqueeze(1).clamp(min=1)  # [E, S, N]
    mixed = product(inner[..., :known], share)  # [E, S + Q, N]
    square = (mixed[:, :known] * share).sum(1, keepdim=True)  # [E, 1, N]
    far = inner.diagonal(dim1=1, dim2=2).unsqueeze(-1) - 2 * mixed + square
    return -_sharpness(support) * far.clamp(min=0)


def _plainly(support: SupportState, rows: Tensor) -> Tensor:
    """The same of rows that were not transformed ``[E, R, D]``: ``[E, R, N]``."""
    return -_sharpness(support) * squared_distances(rows, support.prototypes)


def _sharpness(support: SupportState) -> Tensor:
    size = spread(support.support, support.one_hot.sum(-1)).root.square()
    return sharpness_of_means(support.one_hot.sum(1), size)

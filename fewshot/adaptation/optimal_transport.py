"""`optimal-transport`: each source row moves to where its mass goes in the target."""

from __future__ import annotations

import torch
from torch import Tensor

from episodes.episode import Support
from episodes.inputs import check_whole
from fewshot.adaptation.adapter import Ask, DomainAdapter
from fewshot.learner import State
from fewshot.maths.linalg import product
from fewshot.maths.transport import transport

_POWER = 0.5  # p of the group term, as in the paper
_TOLERANCE = 1e-9  # of the mass of a row
_SMALLEST = 1e-3  # keeps the group term's slope finite, relative to the mass of a row


class OptimalTransport(DomainAdapter):
    """Moves source rows by the cheapest plan: ``x_i -> sum_j P_ij x_j / sum_j P_ij`` over target rows j.

    P minimises ``<P, C> + reg sum P log P`` with equal masses of all rows, C squared distances over their median.
    With `group`, a target row shall take its mass from rows of one class: a term ``group sum_jc |P_cj|^(1/2)`` is
    added and minimised by its tangent, in ten rounds.

    Args:
        reg: of the entropy, above 0; small is sharp and slow.
        group: of the class term, at least 0.
        rounds: of the class term.

    Raises:
        ValueError: an argument out of range.

    Reference: Courty, Flamary, Tuia, Rakotomamonjy, "Optimal transport for domain adaptation", IEEE TPAMI 39 (2017),
    arXiv:1507.00504.

    Example:
        >>> import torch
        >>> from episodes import EpisodeSampler, load_dataset
        >>> from fewshot import load_learner
        >>> digits = load_dataset("digits")
        >>> episode, targets = EpisodeSampler(digits.labels, way=5, shot=5, query=15).draw(count=20).episode(digits)
        >>> moved = episode.with_query(episode.query + torch.linspace(0, 1, 64))  # other light
        >>> found = [load_learner(spec)(moved).argmax(-1) for spec in ("logistic", "optimal-transport | logistic")]
        >>> [round((one == targets).float().mean().item(), 1) for one in found]
        [0.7, 0.9]
    """

    name = "optimal-transport"

    def __init__(self, reg: float = 0.1, group: float = 0.0, rounds: int = 10) -> None:
        super().__init__()
        if not reg > 0 or not group >= 0:
            raise ValueError(f"reg={reg!r}, group={group!r}; reg must be above 0 and group at least 0.")
        self.reg, self.group, self.rounds = reg, group, check_whole("rounds", rounds)

    def align(self, source: Support, target: Tensor, ask: Ask) -> tuple[Support, State]:
        """Source rows where their mass goes; target rows stay."""
        known = source.labels >= 0  # [E, S]
        cost = torch.cdist(source.support, target).square()  # [E, S, U]
        middle = torch.where(known.unsqueeze(-1), cost, torch.nan).flatten(1).nanmedian(1).values
        cost = cost / middle.clamp(min=torch.finfo(cost.dtype).tiny).view(-1, 1, 1)
        cost = torch.where(known.unsqueeze(-1), cost, torch.inf)
        plan, potential = self._plan(cost, known, None)
        if self.group:
            one_hot = source.one_hot.to(plan.dtype)  # [E, S, N]
            for _ in range(self.rounds - 1):
                mass = product(one_hot.mT, plan)  # [E, N, U]
                slope = _POWER * (mass + _SMALLEST / source.way) ** (_POWER - 1)
                dearer = cost + self.group * product(one_hot, slope).to(cost.dtype)
                plan, potential = self._plan(dearer, known, potential)
        share = (plan / plan.sum(-1, keepdim=True).clamp(min=torch.finfo(plan.dtype).tiny)).to(target.dtype)
        moved = torch.where(known.unsqueeze(-1), product(share, target), source.support)
        return source.replace(support=moved), target.new_zeros(len(target))

    def _plan(self, cost: Tensor, known: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        """The plan in units of one target row, so that columns sum to 1 ``[E, S, U]``, and a start for the next."""
        rows, others = cost.shape[1:]
        remedy = "raise reg"
        # In float32 the masses of a side would not sum to those of the other, to within the tolerance.
        exact = torch.float32 if cost.device.type == "mps" else torch.float64
        if others < rows and bool(known.all()):  # the solver's work grows with the cube of the one side: the smaller
            mass = torch.full(cost[:, 0].shape, rows / others, dtype=exact, device=cost.device)  # [E, U]
            plan, start = transport(cost.mT, mass, 1 / self.reg, _TOLERANCE, start, what=self.name, remedy=remedy)
            return plan.mT * (others / rows), start
        mass = known.to(exact) * others / known.sum(1, keepdim=True).clamp(min=1)  # [E, S]
        return transport(cost, mass, 1 / self.reg, _TOLERANCE, start, what=self.name, remedy=remedy)

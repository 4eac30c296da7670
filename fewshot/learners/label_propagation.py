"""Label propagation over a graph of support and queries, in closed form."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.affinity import squared_distances
from fewshot.maths.experts import left_out, sharpness_of_means, weigh_experts
from fewshot.maths.linalg import normalize, product
from fewshot.maths.spread import spread

_LEAST = 0.01


class LabelledRows(NamedTuple):
    """Rows with labels, then those without."""

    rows: Tensor  # [E, S + U, D], zero where they are padding
    one_hot: Tensor  # [E, S, N], zeros for padding
    known: Tensor  # [E, S + U], False for padding


class LabelPropagation(Learner):
    """Spreads the labels of the support over a nearest-neighbour graph of all rows.

    Affinities are ``max(cos, 0)^power`` to the `neighbours` nearest other rows, made symmetric (W + Wᵀ) and
    normalised, ``A = D^(-1/2) W D^(-1/2)``; then ``F = (I - spread A)⁻¹ Y``, one solve of S + U + Q equations. Rows of
    `Episode.unlabelled` are nodes of the graph, too. Cosines are those around the mean of all rows: around zero,
    features that share a large part are all alike.

    Where classes overlap, as the topics or moods of texts do, neighbours are often of other classes, and class means
    answer better (by up to 8 points at 10 rows a class). So they are asked as well, ``logits = a log F_q + b m_q`` with
    ``m_qn = -10 K / (K + 1) |q - p_n|² / r²`` for K rows a class of root mean square distance r from their mean: the
    scatter around a mean of K rows is 1 + 1 / K times that of a class. The weights are those under which labelled rows
    are likeliest when their own label is left out of both, near to 1 and `means` where there are few (`weigh_experts`);
    at one row a class there is nothing to leave out.

    Args:
        neighbours: nearest other rows that a row is joined to; best below the rows of a class.
        power: sharpens affinities.
        spread: share of a row's label that comes from its neighbours, in 0..1 (the papers' α).
        centred: False: cosines around zero.
        means: weight of class means before any example has been left out; 0: they are not asked, and
            ``logits = log F_q`` as in the papers.

    Raises:
        ValueError: an argument is out of range.

    For many queries of five classes, as in the second paper's tasks: ``label-propagation(neighbours=20, power=3.0,
    centred=False, means=0.0)``.

    Reference: Zhou, Bousquet, Lal, Weston, Schölkopf, "Learning with local and global consistency",
    NeurIPS 2003; for few-shot episodes: Liu et al., "Learning to propagate labels: transductive propagation
    network for few-shot learning", ICLR 2019, arXiv:1805.10002.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=1, query=15)
        >>> results = evaluate(["prototypes", "label-propagation"], digits, sampler, episodes=20)
        >>> round(results["prototypes"].mean, 1), round(results["label-propagation"].mean, 1)
        (0.7, 0.8)
    """

    name: ClassVar[str] = "label-propagation"
    invariant = ("scale",)
    needs = ("support", "unlabelled")
    transductive = True
    by_single_rows: ClassVar[bool] = True  # of the graph, which rows that were made up would not resemble

    def __init__(
        self,
        neighbours: int = 10,
        power: float = 1.0,
        spread: float = 0.8,
        centred: bool = True,
        means: float = 1.0,
    ) -> None:
        super().__init__()
        if neighbours < 1 or power <= 0 or not 0 < spread < 1 or not means >= 0:
            raise ValueError(
                f"neighbours={neighbours}, power={power}, spread={spread}, means={means}; neighbours must be at least "
                "1, power positive, spread between 0 and 1, and means at least 0."
            )
        self.neighbours = neighbours
        self.power = power
        self.spread = spread
        self.centred = centred
        self.means = means

    def adapt(self, episode: Support) -> LabelledRows:
        """Keep the support and the unlabelled rows."""
        known = episode.labels >= 0  # [E, S]
        rows = torch.where(known.unsqueeze(-1), episode.support, 0)
        if episode.unlabelled is not None:
            rows = torch.cat([rows, episode.unlabelled], 1)
            known = torch.cat([known, known.new_ones(episode.unlabelled.shape[:2])], 1)
        return LabelledRows(rows, episode.one_hot, known)

    def predict(self, state: LabelledRows, query: Tensor) -> Tensor:
        """Spread the labels to the queries."""
        rows = torch.cat([state.rows, query], 1)  # [E, R, D]
        known = torch.cat([state.known, state.known.new_ones(query.shape[:2])], 1)
        if self.centred:
            rows = rows - rows.sum(1, keepdim=True) / known.sum(1).view(-1, 1, 1)
        rows = normalize(rows, dim=-1)
        asked, count, shots = query.shape[1], state.one_hot.shape[1], state.one_hot.sum(1)  # Q, S, [E, N]
        absent = (shots == 0).unsqueeze(1)  # [E, 1, N]
        reached = self._reached(rows, known, count)
        spread_labels = product(reached[:, -asked:], state.one_hot)  # [E, Q, N]
        if not self.means:
            logits = spread_labels.clamp(min=torch.finfo(rows.dtype).tiny).log()
            return logits.masked_fill(absent, -torch.inf)
        # A label does not count for its own row; those of the others of its class then stand for all.
        left = left_out(state.one_hot, shots)  # [E, S, N]
        others = reached[:, :count] * (1 - torch.eye(count, dtype=rows.dtype, device=rows.device))
        held_out = _log(product(others, state.one_hot) * left, shots)  # [E, S, N]
        by_means = self._by_means(rows, state.one_hot, shots)  # [E, R, N]
        seen = torch.stack([held_out, by_means[:, :count] * left.square()], -1)
        several = state.one_hot * (shots > 1).unsqueeze(1)
        weights = weigh_experts(seen.masked_fill(absent.unsqueeze(-1), -torch.inf), several, (1.0, self.means))
        logits = weights[:, :1, None] * _log(spread_labels, shots) + weights[:, 1:, None] * by_means[:, -asked:]
        return logits.masked_fill(absent, -torch.inf)

    def _reached(self, rows: Tensor, known: Tensor, labelled: int) -> Tensor:
        """What of each labelled row's label comes to every row ``[E, R, S]``."""
        affinity = product(rows, rows.mT)  # [E, R, R]
        both = known.unsqueeze(1) & known.unsqueeze(2)
        affinity = affinity.masked_fill(~both, -1.0)
        affinity = affinity.masked_fill(torch.eye(len(known[0]), dtype=torch.bool, device=rows.device), -1.0)
        count = min(self.neighbours, rows.shape[1] - 1)
        nearest = affinity.topk(count, dim=-1).indices
        joined = torch.zeros_like(affinity).scatter_(-1, nearest, 1.0)
        graph = joined * affinity.clamp(min=0).pow(self.power)
        graph = graph + graph.mT
        scale = graph.sum(-1).clamp(min=torch.finfo(graph.dtype).tiny).rsqrt()  # [E, R]
        # A row without neighbours keeps what it has: nothing.
        scale = torch.where(graph.any(-1), scale, torch.zeros_like(scale))
        system = -self.spread * graph * scale.unsqueeze(1) * scale.unsqueeze(2)
        system.diagonal(dim1=1, dim2=2).add_(1.0)
        sources = torch.eye(rows.shape[1], labelled, dtype=rows.dtype, device=rows.device)
        return torch.linalg.solve(system, sources.expand(len(rows), -1, -1))

    def _by_means(self, rows: Tensor, one_hot: Tensor, shots: Tensor) -> Tensor:
        """Log likelihoods of all rows under class means of K labelled rows each ``[E, R, N]``."""
        labelled = rows[:, : one_hot.shape[1]]
        means = product(one_hot.mT, labelled) / shots.unsqueeze(-1).clamp(min=1)  # [E, N, D]
        size = spread(labelled, one_hot.sum(-1)).root.square()
        return -sharpness_of_means(shots, size) * squared_distances(rows, means)


def _log(shares: Tensor, shots: Tensor) -> Tensor:
    """Logarithm of what came from each class; a hundredth of the mean more, as a graph says nothing of who is far."""
    classes = (shots > 0).sum(1).view(-1, 1, 1).clamp(min=1)
    shares = shares + _LEAST * shares.sum(-1, keepdim=True) / classes
    return shares.clamp(min=torch.finfo(shares.dtype).tiny).log()

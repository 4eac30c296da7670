"""Label propagation over a graph of support and queries, in closed form."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.linalg import normalize, product, towards_class_means


class LabelledRows(NamedTuple):
    """Rows with and without labels; those without have a row of zeros."""

    rows: Tensor  # [E, S + U, D], zero where they are padding
    one_hot: Tensor  # [E, S + U, N]
    known: Tensor  # [E, S + U], False for padding
    absent: Tensor  # [E, N]


class LabelPropagation(Learner):
    """Spreads the labels of the support over a nearest-neighbour graph of all rows.

    Affinities are ``max(cos, 0)^power`` to the `neighbours` nearest other rows, made symmetric (W + Wᵀ) and
    normalised, ``A = D^(-1/2) W D^(-1/2)``; then ``F = (I - spread A)⁻¹ Y``, one solve of S + U + Q equations,
    and ``logits = log F_q``. Rows of `Episode.unlabelled` are nodes of the graph, too.

    Where classes overlap, as the topics or moods of texts do, neighbours are often of other classes, and class means
    answer better: by up to 8 points at 10 rows a class (5 to 20 neighbours or all, powers of 1 and 3, and spreads of
    0.2 to 0.8 were tried), and by up to 5 with ``shrinkage=0.65``. Cosines are those around the mean of all rows:
    around zero, features that share a large part are all alike.

    Args:
        neighbours: nearest other rows that a row is joined to; best below the rows of a class.
        power: sharpens affinities.
        spread: share of a row's label that comes from its neighbours, in 0..1 (the paper's α).
        centred: False: cosines around zero.
        shrinkage: share of the way from each labelled row to the mean of its class, 0..1. Answers are more often right
            with 0.65 than with the papers' 0, and probabilities after calibration far too low.

    Raises:
        ValueError: an argument is out of range.

    For many queries of five classes, as in the second paper's tasks: ``label-propagation(neighbours=20, power=3.0,
    centred=False)``.

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
        shrinkage: float = 0.0,
    ) -> None:
        super().__init__()
        if neighbours < 1 or power <= 0 or not 0 < spread < 1 or not 0 <= shrinkage <= 1:
            raise ValueError(
                f"neighbours={neighbours}, power={power}, spread={spread}, shrinkage={shrinkage}; neighbours must be "
                "at least 1, power positive, spread between 0 and 1, and shrinkage in 0..1."
            )
        self.neighbours = neighbours
        self.power = power
        self.spread = spread
        self.centred = centred
        self.shrinkage = shrinkage

    def adapt(self, episode: Support) -> LabelledRows:
        """Keep the support and the unlabelled rows."""
        one_hot = episode.one_hot
        known = one_hot.any(-1)  # [E, S]
        rows = torch.where(known.unsqueeze(-1), towards_class_means(episode, self.shrinkage), 0)
        if episode.unlabelled is not None:
            more = episode.unlabelled
            rows = torch.cat([rows, more], 1)
            one_hot = torch.cat([one_hot, one_hot.new_zeros(len(more), more.shape[1], episode.way)], 1)
            known = torch.cat([known, known.new_ones(more.shape[:2])], 1)
        return LabelledRows(rows, one_hot, known, episode.shots == 0)

    def predict(self, state: LabelledRows, query: Tensor) -> Tensor:
        """Spread the labels to the queries."""
        rows = torch.cat([state.rows, query], 1)  # [E, R, D]
        known = torch.cat([state.known, state.known.new_ones(query.shape[:2])], 1)
        if self.centred:
            rows = rows - rows.sum(1, keepdim=True) / known.sum(1).view(-1, 1, 1)
        rows = normalize(rows, dim=-1)
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
        labels = torch.cat([state.one_hot, state.one_hot.new_zeros(*query.shape[:2], state.one_hot.shape[-1])], 1)
        spread = torch.linalg.solve(system, labels)[:, -query.shape[1] :]  # [E, Q, N]
        logits = spread.clamp(min=torch.finfo(spread.dtype).tiny).log()
        return logits.masked_fill(state.absent.unsqueeze(1), -torch.inf)

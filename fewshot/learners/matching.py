"""Matching networks: attention over the support."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.affinity import squared_distances
from fewshot.maths.experts import left_out, sharpness_of_means, weigh_experts
from fewshot.maths.held_out import some_rows
from fewshot.maths.linalg import class_means, normalize, product
from fewshot.maths.outliers import cosine_distance_to_means
from fewshot.maths.spread import spread_of_support

_ASKED = 512  # rows that are left out, at most: two weights need no more


class MatchingState(NamedTuple):
    """Support rows of length one, their labels, and class means with what they weigh."""

    support: Tensor  # [E, S, D]
    one_hot: Tensor  # [E, S, N]
    centre: Tensor  # [E, 1, D], what was subtracted
    means: Tensor  # [E, N, D]
    weights: Tensor  # [E, 2, 1, 1], of the votes, and of squared distances to the means


class Matching(Learner):
    """Classifies by attention: each support row votes for its class by its similarity to the query.

    ``P(n | q) = Σ_{s of class n} exp(scale cos(q, x_s)) / Σ_s exp(scale cos(q, x_s))``; v_n is the logarithm of the
    upper sum. That is the paper's classifier without its "full context embeddings", and its logits.

    Cosines are those around the mean of the support: around zero, features that share a large part are all alike, and
    classes would differ by how long their rows' mean is. With many shots this is near the nearest neighbour's answer,
    which is noisy where classes overlap (3 points behind class means), and knows more where they are no round clusters
    (18 points before them on raw spectrograms). So class means are asked as well, ``logits = a v_n - 10 c K / (K + 1)
    |q - p_n|² / r²`` for K rows a class of root mean square distance r from their mean. The weights a and c are those
    under which labelled rows are likeliest when each is left out of both, near to 1 and `means` where there are few
    (`weigh_experts`).

    Args:
        scale: sharpness of the attention; the paper has 1, at which every row votes nearly alike. Large
            values approach the nearest neighbour.
        centred: False: cosines around zero, as in the paper.
        means: weight of class means before any example has been left out; 0: they are not asked, and the logits are v,
            as in the paper.

    Raises:
        ValueError: scale is not positive, or means below 0 or infinite.

    The paper's setting: ``matching(scale=1.0, centred=False, means=0.0)``.

    Reference: Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra, "Matching networks for one shot learning",
    NeurIPS 2016, arXiv:1606.04080.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> results = evaluate(["matching"], digits, sampler, episodes=20)
        >>> round(results["matching"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "matching"
    invariant = ("scale",)

    def __init__(self, scale: float = 5.0, centred: bool = True, means: float = 0.5) -> None:
        super().__init__()
        if scale <= 0 or not 0 <= means < float("inf"):
            raise ValueError(
                f"scale={scale!r}, means={means!r}; the scale must be positive, means at least 0 and finite."
            )
        self.scale = scale
        self.centred = centred
        self.means = means

    def adapt(self, episode: Support) -> MatchingState:
        """Keep the support, and weigh its votes against class means."""
        several = (episode.labels >= 0).sum(1) > 1  # a lone row would be centred onto zero
        size = spread_of_support(episode)
        centre = size.mean * (several & self.centred).view(-1, 1, 1)  # [E, 1, D]
        rows, one_hot = normalize(episode.support - centre, dim=-1), episode.one_hot
        means, shots = class_means(episode)
        weights = means.new_tensor([1.0, self.means]).expand(len(means), -1)  # [E, 2]
        sharp = torch.ones_like(size.root)
        if self.means:
            sharp = sharpness_of_means(shots, size.root.square())  # [E, 1, 1]
            if episode.labels.numel() and int(episode.shots.max()) > 1:
                weights = self._weights(episode, rows, means, shots, sharp)
        weights = torch.stack([weights[:, :1], weights[:, 1:] * sharp.squeeze(-1)], 1).unsqueeze(-1)
        return MatchingState(rows, one_hot, centre, means, weights)

    def _weights(self, episode: Support, rows: Tensor, means: Tensor, shots: Tensor, sharp: Tensor) -> Tensor:
        """Of votes and class means ``[E, 2]``."""
        one_hot = episode.one_hot
        place = some_rows(episode, _ASKED)  # [E, R]
        mine = place.unsqueeze(-1)
        own = one_hot.gather(1, mine.expand(-1, -1, episode.way))  # [E, R, N]
        asked = rows.gather(1, mine.expand_as(rows[:, : mine.shape[1]]))  # [E, R, D]
        cosine = product(asked, rows.mT).scatter(2, mine, -torch.inf)  # [E, R, S]
        factor = left_out(own, shots)
        by_votes = self._votes(cosine, one_hot) + factor.log()
        asked = episode.support.gather(1, mine.expand_as(asked))
        by_means = -sharp * squared_distances(asked, means) * factor.square()
        seen = torch.stack([by_votes, by_means], -1)  # [E, R, N, 2]
        absent = (shots == 0).view(len(shots), 1, -1, 1)
        exact = torch.float32 if seen.device.type == "mps" else torch.float64
        target = (own * (shots > 1).unsqueeze(1)).to(exact)
        seen = seen.masked_fill(absent, -torch.inf).to(exact)
        return weigh_experts(seen, target, (1.0, self.means), follow=True).to(rows)

    def _votes(self, cosine: Tensor, one_hot: Tensor) -> Tensor:
        """Logarithm of the attention to each class ``[E, Q, N]``, of cosines with the support ``[E, Q, S]``."""
        known = one_hot.any(-1).unsqueeze(1)  # [E, 1, S]
        cosine = torch.where(known, cosine, -torch.inf)
        highest = cosine.amax(-1, keepdim=True)  # the largest vote is 1, so a sum of votes underflows last
        votes = product((self.scale * (cosine - highest)).exp(), one_hot)  # [E, Q, N]
        return votes.clamp(min=torch.finfo(votes.dtype).tiny).log() + self.scale * highest

    def predict(self, state: MatchingState, query: Tensor) -> Tensor:
        """Sum the attention of each class."""
        cosine = product(normalize(query - state.centre, dim=-1), state.support.mT)  # [E, Q, S]
        logits = self._votes(cosine, state.one_hot)
        if self.means:
            first, second = state.weights.unbind(1)  # [E, 1, 1]
            logits = first * logits - second * squared_distances(query, state.means)
        present = state.one_hot.any(1).unsqueeze(1)  # [E, 1, N]
        return torch.where(present, logits, -torch.inf)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """One minus the cosine with the nearest class mean, around zero."""
        return cosine_distance_to_means(episode)

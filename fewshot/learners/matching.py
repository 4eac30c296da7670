"""Matching networks: attention over the support."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.held_out import folds_by_value
from fewshot.maths.linalg import normalize, product, towards_class_means
from fewshot.maths.outliers import cosine_distance_to_means
from fewshot.maths.spread import AUTO, spread_of_support

_SHARES = (0.8, 0.0)  # of the way to class means; chosen by benchmarks/defaults.py
_FOLDS = 4


class MatchingState(NamedTuple):
    """Support rows of length one, and their labels."""

    support: Tensor  # [E, S, D]
    one_hot: Tensor  # [E, S, N]
    centre: Tensor  # [E, 1, D], what was subtracted


class Matching(Learner):
    """Classifies by attention: each support row votes for its class by its similarity to the query.

    ``P(n | q) = Σ_{s of class n} exp(scale cos(q, x_s)) / Σ_s exp(scale cos(q, x_s))``; the logits are the
    logarithm of the upper sum. That is the paper's classifier without its "full context embeddings".

    Cosines are those around the mean of the support: around zero, features that share a large part are all alike, and
    classes would differ by how long their rows' mean is. With many shots this is near the nearest neighbour's answer,
    which is noisy where classes overlap (3 points behind class means); so support rows are first moved four fifths of
    the way to the mean of their class. Where classes are no round clusters, as in raw spectrograms, that costs what
    single rows know (10 points at 16 shots); so examples are held out, in at most four folds, and rows stay where they
    are if more of those are right that way.

    Args:
        scale: sharpness of the attention; the paper has 1, at which every row votes nearly alike. Large
            values approach the nearest neighbour.
        centred: False: cosines around zero, as in the paper.
        shrinkage: share of the way from each support row to the mean of its class, 0..1; the paper has 0, and at 1 it
            classifies by class means. ``"auto"``: 0.8, or 0 where held-out examples say so.

    Raises:
        ValueError: scale is not positive, or shrinkage outside 0..1.

    The paper's setting: ``matching(scale=1.0, centred=False, shrinkage=0.0)``.

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

    def __init__(self, scale: float = 5.0, centred: bool = True, shrinkage: float | str = AUTO) -> None:
        super().__init__()
        if scale <= 0 or (shrinkage != AUTO and (isinstance(shrinkage, str) or not 0 <= shrinkage <= 1)):
            raise ValueError(
                f"scale={scale!r}, shrinkage={shrinkage!r}; the scale must be positive, shrinkage in 0..1 or 'auto'."
            )
        self.scale = scale
        self.centred = centred
        self.shrinkage = shrinkage

    def adapt(self, episode: Support) -> MatchingState:
        """Keep the support."""
        several = (episode.labels >= 0).sum(1) > 1  # a lone row would be centred onto zero
        centre = spread_of_support(episode).mean * (several & self.centred).view(-1, 1, 1)  # [E, 1, D]
        if not isinstance(self.shrinkage, str):
            return _moved(episode, self.shrinkage, centre)
        moved, still = (_moved(episode, share, centre) for share in _SHARES)
        stay = self._better_still(episode, centre).view(-1, 1, 1)
        return moved._replace(support=torch.where(stay, still.support, moved.support))

    @torch.no_grad()
    def _better_still(self, episode: Support, centre: Tensor) -> Tensor:
        """Whether more held-out examples are right by rows as they are than by moved ones ``[E]``."""
        gain = torch.zeros_like(episode.labels[:, 0])  # [E], right answers more
        if not episode.labels.numel() or int(episode.shots.max()) < 2:
            return gain > 0
        fold = torch.where(episode.labels >= 0, folds_by_value(episode, _FOLDS), -1)  # [E, S]
        for number in range(_FOLDS):
            held = fold == number
            left = episode.replace(labels=torch.where(held, -1, episode.labels))
            place = held.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, : int(held.sum(1).max())]
            labels = episode.labels.gather(1, place).clamp(min=0)  # [E, R]
            # A class whose examples are all held out cannot be asked about.
            asked = held.gather(1, place) & (left.shots.gather(1, labels) > 0)
            rows = episode.support.gather(1, place.unsqueeze(-1).expand(-1, -1, episode.support.shape[-1]))
            for share, sign in zip(_SHARES, (-1, 1), strict=True):
                best = self.predict(_moved(left, share, centre), rows).argmax(-1)
                gain += sign * ((best == labels) & asked).sum(1)
        return gain > 0

    def predict(self, state: MatchingState, query: Tensor) -> Tensor:
        """Sum the attention of each class."""
        cosine = product(normalize(query - state.centre, dim=-1), state.support.mT)  # [E, Q, S]
        known = state.one_hot.any(-1).unsqueeze(1)  # [E, 1, S]
        cosine = torch.where(known, cosine, -torch.inf)
        highest = cosine.amax(-1, keepdim=True)  # the largest vote is 1, so a sum of votes underflows last
        votes = product((self.scale * (cosine - highest)).exp(), state.one_hot)  # [E, Q, N]
        present = state.one_hot.any(1).unsqueeze(1)  # [E, 1, N]
        logits = votes.clamp(min=torch.finfo(votes.dtype).tiny).log() + self.scale * highest
        return torch.where(present, logits, -torch.inf)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """One minus the cosine with the nearest class mean, around zero."""
        return cosine_distance_to_means(episode)


def _moved(episode: Support, share: float, centre: Tensor) -> MatchingState:
    """The support with rows moved towards the means of their classes."""
    return MatchingState(normalize(towards_class_means(episode, share) - centre, dim=-1), episode.one_hot, centre)

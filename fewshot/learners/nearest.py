"""k nearest neighbours."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.held_out import without_rows
from fewshot.maths.linalg import normalize, product, squared_lengths
from fewshot.maths.outliers import distance_to_moved_rows


class NearestState(NamedTuple):
    """The support itself."""

    support: Tensor  # [E, S, D], of length one for the cosine distance
    labels: Tensor  # [E, S], N for padding
    absent: Tensor  # [E, N], True for a class without support
    offset: Tensor  # [E, 1, D] or [E, 1, 1], what rows are relative to


class Nearest(Learner):
    """Classifies by the classes of the k nearest support rows.

    For k = 1, ``logits = -d_n``, the distance to the nearest row of class n. For more,
    ``logits = log(v_n + c_n)``: ``v_n`` are the votes of the k nearest rows for class n, and ``c_n`` is half
    a vote for a class at distance zero and less for one further away. So a draw goes to the nearest of the
    classes that drew, and no probability is zero.

    Predictions are those of scikit-learn's ``KNeighborsClassifier``, but for draws: it gives a draw to the
    lowest label, and picks by row order among rows as far away as the k-th, all of which vote here.

    Single rows are noisier than means of several: where classes overlap, this stays behind `Prototypes` by 5 to 13
    points at five shots and more, whatever k is. `Matching`, in which all rows vote beside class means, does not.

    Args:
        k: number of neighbours that vote; all rows vote in an episode that has fewer.
        distance: ``"euclidean"`` or ``"cosine"`` (one minus the cosine).
        weights: ``"uniform"``, or ``"distance"``: a vote weighs the inverse of its distance.

    Raises:
        ValueError: k is below 1, or a name is not one of those above.

    Reference: Cover, Hart, "Nearest neighbor pattern classification", IEEE Transactions on Information
    Theory 1967, doi:10.1109/TIT.1967.1053964.

    Example:
        >>> episode = Episode(torch.eye(2)[None], torch.tensor([[0, 1]]), torch.tensor([[[1.0, 0.0]]]), way=2)
        >>> Nearest(k=1)(episode).argmax(-1)
        tensor([[0]])
    """

    name: ClassVar[str] = "nearest"

    def __init__(self, k: int = 1, distance: str = "euclidean", weights: str = "uniform") -> None:
        super().__init__()
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k={k!r}; it must be an integer of at least 1.")
        if distance not in ("euclidean", "cosine"):
            raise ValueError(f"distance={distance!r}; it must be 'euclidean' or 'cosine'.")
        if weights not in ("uniform", "distance"):
            raise ValueError(f"weights={weights!r}; it must be 'uniform' or 'distance'.")
        self.k = k
        self.distance = distance
        self.weights = weights
        self.invariant = ("scale",) if distance == "cosine" else ("offset", "scale")

    def adapt(self, support: Support) -> NearestState:
        """Keep the support."""
        labels = torch.where(support.labels < 0, support.way, support.labels).long()
        absent = support.shots == 0
        if self.distance == "cosine":
            nothing = support.support.new_zeros(len(support), 1, 1)
            return NearestState(normalize(support.support, dim=-1), labels, absent, nothing)
        support, _, _, offset = relative_to_centre(support)
        return NearestState(support.support, labels, absent, offset)

    def adapt_without(self, state: NearestState, support: Support, left: Tensor) -> NearestState:
        """Mark rows as padding; nothing is copied."""
        copies = without_rows(support, left)
        labels = torch.where(left, support.way, state.labels)
        rows, offset = (part.expand(len(left), -1, -1) for part in (state.support, state.offset))
        return NearestState(rows, labels, copies.shots == 0, offset)

    def predict(self, state: NearestState, query: Tensor) -> Tensor:
        """Let the nearest rows vote."""
        if self.k == 1:
            return -self._nearest(state, query)
        distance, rounding = self._distances(state, query)  # [E, Q, S], [E, Q, 1]
        ways = state.absent.shape[1]
        nearest = _of_each_class(distance, state.labels, ways)  # [E, Q, N]
        k = min(self.k, distance.shape[-1])
        farthest = distance.detach().topk(k, largest=False).values[..., -1:]  # [E, Q, 1]
        voting = distance <= farthest + rounding  # [E, Q, S]
        if self.weights == "distance":
            weight = nearest.amin(-1, keepdim=True) / distance  # 1 for the nearest row, 0 for padding
            votes, share = _sums(weight * voting, state.labels, ways), 1e-6
        else:
            votes, share = _sums(voting.to(distance.dtype), state.labels, ways), 0.5
        absent = nearest.isinf()  # [E, Q, N]
        usual = nearest.masked_fill(absent, 0).sum(-1, keepdim=True) / (~absent).sum(-1, keepdim=True)
        closeness = 1 / (1 + nearest.masked_fill(absent, 0) / usual)  # between 0 and 1, whatever the scale
        return (votes + share * closeness).log().masked_fill(absent, -torch.inf)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest row, each moved half of the way to the mean of its class."""
        if self.distance == "cosine":
            query = normalize(episode.query, dim=-1)
            episode = episode.replace(support=normalize(episode.support, dim=-1), query=query)
        return distance_to_moved_rows(episode)

    def _nearest(self, state: NearestState, query: Tensor) -> Tensor:
        """Distance to the nearest row of each class ``[E, Q, N]``, infinite for absent classes.

        The smallest is sought among what differs between rows, and a distance made of N of them, not of S.
        """
        eps, ways = torch.finfo(query.dtype).eps, state.absent.shape[1]
        padding = (state.labels == ways).unsqueeze(-1)  # [E, S, 1]
        query = shifted(query, state.offset)
        if self.distance == "cosine":
            apart = -product(state.support, normalize(query, dim=-1).mT)  # [E, S, Q]
            found = _of_rows(apart.masked_fill_(padding, torch.inf), state.labels, ways)
            return (1 + found).clamp(min=4 * eps).mT
        lengths = squared_lengths(state.support).unsqueeze(-1)  # [E, S, 1]
        own = squared_lengths(query).unsqueeze(1)  # [E, 1, Q]
        longest = lengths.masked_fill(padding, 0).amax(1, keepdim=True)  # [E, 1, 1]
        apart = torch.add(lengths.masked_fill(padding, torch.inf), product(state.support, query.mT), alpha=-2)
        found = own + _of_rows(apart, state.labels, ways)  # [E, N, Q]
        return torch.maximum(found, _least(own, longest)).sqrt().mT

    def _distances(self, state: NearestState, query: Tensor) -> tuple[Tensor, Tensor]:
        """Distance to each row, infinite for padding, and by how much it may be off."""
        eps = torch.finfo(query.dtype).eps
        padding = (state.labels == state.absent.shape[1]).unsqueeze(1)  # [E, 1, S]
        query = shifted(query, state.offset)
        if self.distance == "cosine":
            similarity = product(normalize(query, dim=-1), state.support.mT)  # [E, Q, S]
            distance = (1 - similarity).clamp(min=4 * eps)
            return distance.masked_fill(padding, torch.inf), torch.full_like(distance[..., :1], 4 * eps)
        lengths = torch.linalg.vector_norm(state.support, dim=-1).square().unsqueeze(1)  # [E, 1, S]
        own = torch.linalg.vector_norm(query, dim=-1, keepdim=True).square()  # [E, Q, 1]
        longest = lengths.masked_fill(padding, 0).amax(-1, keepdim=True)  # [E, 1, 1]
        least = _least(own, longest)  # [E, Q, 1]
        squared = own + lengths - 2 * product(query, state.support.mT)  # [E, Q, S]
        distance = torch.maximum(squared, least).sqrt()
        rounding = least / distance.detach().amin(-1, keepdim=True)
        return distance.masked_fill(padding, torch.inf), rounding


def _least(own: Tensor, longest: Tensor) -> Tensor:
    """Equal rows are at this squared distance rather than 0, so that each weighs the same and has a gradient."""
    limits = torch.finfo(own.dtype)
    return (4 * limits.eps * (own + longest)).clamp(min=limits.tiny).detach()


def _of_rows(distance: Tensor, labels: Tensor, ways: int) -> Tensor:
    """The smallest of ``[E, S, Q]`` in the rows of each class ``[E, N, Q]``, infinite for absent classes."""
    count, rows = labels.shape
    if labels.device.type != "cpu" or torch.compiler.is_compiling():  # asking for the largest class would stall it
        return _of_each_class(distance.mT, labels, ways).mT
    order = labels.argsort(dim=1, stable=True)  # [E, S], padding last
    shots = torch.zeros(count, ways + 1, dtype=torch.int64, device=labels.device)
    shots = shots.scatter_add(1, labels, torch.ones_like(labels))[:, :ways]  # [E, N]
    most = max(1, int(shots.max()))
    if ways * most > 2 * rows + ways:  # so unequal that places for the largest class would mostly be empty
        return _of_each_class(distance.mT, labels, ways).mT
    rank = torch.arange(most, device=labels.device)
    missing = rank >= shots.unsqueeze(-1)  # [E, N, K]
    place = ((shots.cumsum(1) - shots).unsqueeze(-1) + rank).clamp(max=rows - 1)  # [E, N, K], in the order
    index = order.gather(1, place.flatten(1)) + rows * torch.arange(count, device=labels.device).unsqueeze(1)
    found = distance.flatten(0, 1).index_select(0, index.flatten()).view(*missing.shape, -1)  # [E, N, K, Q]
    if missing.any():
        found = found.masked_fill(missing.unsqueeze(-1), torch.inf)
    return found.amin(2)


def _of_each_class(distance: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Distance to the nearest row of each class ``[E, Q, N]``, infinite for absent classes."""
    start = distance.new_full((*distance.shape[:2], ways + 1), torch.inf)  # padding goes to one more class
    return start.scatter_reduce(2, labels.unsqueeze(1).expand_as(distance), distance, "amin")[..., :ways]


def _sums(votes: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Votes ``[E, Q, S]`` for each class ``[E, Q, N]``."""
    start = votes.new_zeros(*votes.shape[:2], ways + 1)
    return start.scatter_add(2, labels.unsqueeze(1).expand_as(votes), votes)[..., :ways]

"""Products, class means and unit vectors, which nearly every learner is made of, where they are fastest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from episodes.episode import Support

_DENSE = 2**24  # numbers of an indicator matrix, above which sums over classes do without it
_WIDE = 32  # classes from which on a processor adds rows up faster than it multiplies by that matrix


def product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` for each episode: ``[E, I, J], [E, J, K] -> [E, I, K]``.

    The matrices of few-shot learning are skinny (5 to 20 classes), and on a CPU torch's batched product of
    such shapes can run at a third of the speed of NumPy's: 16 against 5 ms for 1,000 episodes of 75 x 640 by
    640 x 5 on an AMD processor, where MKL takes its generic path. So plain tensors in host memory, where no
    gradient is wanted, go through NumPy; everything else goes through torch.
    """
    if left.device.type == "cpu" and left.dtype == right.dtype and not torch.is_grad_enabled():
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are answers here, as in torch
                return torch.from_numpy(np.matmul(left.numpy(), right.numpy()))
        except (RuntimeError, TypeError):  # no array behind it: a tensor inside vmap, bfloat16
            pass
    return left @ right


def normalize(rows: Tensor, dim: int = -1) -> Tensor:
    """Rows at length one, ``x / |x|``, in place of torch's function of this name; a row of zeros stays zero.

    Right for every row that the precision can hold, also where its squares leave the range (in float32 below 1e-19
    and above 1e19), and for rows shorter than 1e-12, which torch leaves short.
    """
    return rows / lengths(rows, dim)


def lengths(rows: Tensor, dim: int = -1) -> Tensor:
    """Euclidean lengths along a dimension, which stays; 1 for a row of zeros."""
    if rows.device.type == "cuda":  # accumulated in float64 while reading: looking at values would stall
        length = torch.linalg.vector_norm(rows, dim=dim, keepdim=True, dtype=torch.float64).to(rows.dtype)
    else:
        length = torch.linalg.vector_norm(rows, dim=dim, keepdim=True)
        limits = torch.finfo(rows.dtype)
        if not torch.compiler.is_compiling():  # a graph has no branch: right for all rows
            if not length.numel():
                return length
            low, high = length.detach().aminmax()
            if (low > limits.tiny**0.5 / limits.eps) & (high < torch.inf):  # one look at a value, not two
                return length
        largest = rows.detach().abs().amax(dim, keepdim=True)
        largest = torch.where((largest > 0) & largest.isfinite(), largest, torch.ones_like(largest))
        length = torch.linalg.vector_norm(rows / largest, dim=dim, keepdim=True) * largest
    return torch.where(length == 0, torch.ones_like(length), length)


def squared_lengths(rows: Tensor) -> Tensor:
    """``|x|²`` of rows ``[..., D]``, without a copy of them."""
    return torch.linalg.vector_norm(rows, dim=-1).square()


def class_means(episode: Support) -> tuple[Tensor, Tensor]:
    """Mean support row of each class ``[E, N, D]`` (zeros where there is none), and the shots ``[E, N]``.

    Where rows have weights, the means are weighted, and the shots are sums of weights.
    """
    if crowded(episode):
        shots = class_sums(episode, torch.ones_like(episode.support[..., :1])).squeeze(-1)  # [E, N]
        return class_sums(episode, episode.support) / torch.where(shots > 0, shots, 1).unsqueeze(-1), shots
    one_hot = episode.weighted_one_hot  # [E, S, N]
    shots = one_hot.sum(1)  # [E, N]
    weights = one_hot / torch.where(shots > 0, shots, 1).unsqueeze(1)  # [E, S, N]
    return product(weights.mT, episode.support), shots


def crowded(episode: Support) -> bool:
    """Whether the labels as indicator rows ``[E, S, N]`` would cost more, in memory or in time, than they are worth."""
    if episode.labels.device.type == "cpu" and episode.way >= _WIDE:
        return True
    return episode.labels.numel() * episode.way > _DENSE


def class_sums(episode: Support, rows: Tensor) -> Tensor:
    """Weighted sum of the rows ``[E, S, D]`` of each class ``[E, N, D]``, without indicator rows."""
    if episode.weights is not None:
        rows = rows * episode.weights.unsqueeze(-1).to(rows)
    count, _, width = rows.shape
    slots = episode.way + 1  # padding goes to one more class
    place = torch.where(episode.labels < 0, episode.way, episode.labels).long()  # [E, S]
    place = place + slots * torch.arange(count, device=place.device).unsqueeze(1)
    sums = rows.new_zeros(count * slots, width).index_add(0, place.flatten(), rows.reshape(-1, width))
    return sums.view(count, slots, width)[:, :-1]


def own_class(episode: Support, values: Tensor) -> Tensor:
    """What each support row's class has of values of classes ``[E, N, D]``: ``[E, S, D]``; zeros for padding."""
    place = episode.labels.clamp(min=0).long().unsqueeze(-1).expand(-1, -1, values.shape[-1])
    return torch.where((episode.labels >= 0).unsqueeze(-1), values.gather(1, place), 0)


def towards_class_means(episode: Support, share: float) -> Tensor:
    """Support rows moved by a share of the way to the mean of their class ``[E, S, D]``; padding stays."""
    if share == 0:
        return episode.support
    means, _ = class_means(episode)
    known = (episode.labels >= 0).unsqueeze(-1)
    return torch.where(known, torch.lerp(episode.support, own_class(episode, means), share), episode.support)


def rows_of_classes(episode: Support) -> tuple[Tensor, Tensor]:
    """Support rows by class ``[E, N, K, *x]``, K the largest shot, and which of them are real ``[E, N, K]``.

    Places that a class has no row for hold zeros.
    """
    most = max(1, int(episode.shots.max())) if episode.labels.numel() else 1
    one_hot = episode.one_hot  # [E, S, N]
    rank = one_hot.cumsum(1) - 1  # how many of its class came before
    place = (rank * one_hot).sum(-1).long()  # [E, S]
    labels = episode.labels
    index = torch.where(labels >= 0, labels * most + place, episode.way * most)  # padding goes to an extra place
    shape = (len(labels), episode.way * most + 1)
    taken = torch.zeros(shape, dtype=torch.bool, device=labels.device).scatter_(1, index, True)[:, :-1]
    source = torch.zeros(shape, dtype=torch.long, device=labels.device)
    source = source.scatter_(1, index, torch.arange(labels.shape[1], device=labels.device).expand_as(index))[:, :-1]
    item = episode.support.shape[2:]
    flat = episode.support.flatten(2)
    rows = flat.gather(1, source.unsqueeze(-1).expand(-1, -1, flat.shape[-1]))
    rows = torch.where(taken.unsqueeze(-1), rows, torch.zeros((), dtype=rows.dtype, device=rows.device))
    return rows.view(len(labels), episode.way, most, *item), taken.view(len(labels), episode.way, most)

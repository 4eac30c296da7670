"""Rows of a support that are held out: which, inside a learner, and what sums over the others become."""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.linalg import product

_LITTLE = 1e-6  # share of a scatter below which a difference of scatters tells too little


def folds_by_value(episode: Support, folds: int) -> Tensor:
    """A fold for each support row ``[E, S]``, classes spread evenly; what a row holds decides, not its place."""
    value = _values(episode)  # [E, S]
    same = episode.labels.unsqueeze(1) == episode.labels.unsqueeze(2)
    before = (value.unsqueeze(1) < value.unsqueeze(2)) & same  # [E, S, S]
    return before.sum(-1) % folds


def rows_where(episode: Support, chosen: Tensor) -> Support:
    """The support of some of its rows ``[E, R, D]``, in order; an episode that has fewer of them has padding.

    Args:
        episode: its rows are chosen from; their weights go.
        chosen: True for rows that are kept ``[E, S]``.
    """
    most = max(1, int(chosen.sum(1).max()))
    place = chosen.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]  # [E, R]
    labels = torch.where(chosen, episode.labels, -1).gather(1, place)
    rows = episode.support.gather(1, place.unsqueeze(-1).expand(-1, -1, episode.support.shape[-1]))
    return episode.replace(support=rows, labels=labels, weights=None)


def some_rows(episode: Support, most: int) -> Tensor:
    """So many of the support rows ``[E, R]``, about equally many of each class; all, in order, where there are no more.

    What a row holds decides, not its place; padding comes last.
    """
    count, rows = episode.labels.shape
    if rows <= most:
        return torch.arange(rows, device=episode.labels.device).expand(count, -1)
    labels = torch.where(episode.labels < 0, episode.way, episode.labels)
    by_value = _values(episode).argsort(dim=1)  # [E, S]
    by_class = by_value.gather(1, labels.gather(1, by_value).argsort(dim=1, stable=True))
    shots = torch.nn.functional.pad(episode.shots, (1, 0))  # [E, 1 + N]
    first = shots.cumsum(1).gather(1, labels.gather(1, by_class))  # [E, S]
    rank = torch.arange(rows, device=labels.device) - first
    rank = torch.empty_like(rank).scatter(1, by_class, rank).masked_fill(episode.labels < 0, rows)
    order: Tensor = by_value.gather(1, rank.gather(1, by_value).argsort(dim=1, stable=True))
    return order[:, :most]


def _values(episode: Support) -> Tensor:
    """A number for each support row by which rows are put in order ``[E, S]``."""
    weights = torch.linspace(1, 2, episode.support.shape[-1], dtype=torch.float64, device=episode.support.device)
    return (episode.support.double() * weights).sum(-1)


def without_rows(support: Support, left: Tensor) -> Support:
    """Copies of a task, each without some of its rows, which become padding; they are episodes 0, 1, ...

    Args:
        support: one task, E = 1.
        left: True for rows that are left out ``[F, S]``.
    """
    tensors = {part.name: getattr(support, part.name) for part in fields(Support) if part.name not in ("way", "ids")}
    copies = {name: None if part is None else part.expand(len(left), *part.shape[1:]) for name, part in tensors.items()}
    copies["labels"] = torch.where(left, -1, support.labels)
    return support.replace(**copies, ids=torch.arange(len(left), device=left.device))


class Remaining(NamedTuple):
    """What is left of sums over weighted rows, where some are left out of F copies.

    Attributes:
        share: how often each row is still there ``[F, S]``.
        lost: sums ``Σ_left w z`` of each class ``[F, N, D]``.
        shift: by how much the mean of each class moves ``[F, N, D]``; with `together`, of all rows ``[F, 1, D]``.
        fallen: rows u; the scatter around the means falls by ``Σ u uᵀ`` ``[F, R, D]``.
    """

    share: Tensor
    lost: Tensor
    shift: Tensor
    fallen: Tensor

    def scatter(self, whole: Tensor) -> Tensor:
        """``Σ w z zᵀ`` of the rows that remain, around their means ``[F, D, D]``, from that of all ``[1, D, D]``."""
        return whole - product(self.fallen.mT, self.fallen)


def remaining(rows: Tensor, share: Tensor, labels: Tensor, ways: int, left: Tensor, *, together: bool) -> Remaining:
    """Take rows out of ``Σ_s w_s z_s z_sᵀ``, where z are rows relative to the mean of their class, or of all rows.

    Of a class (or of all rows) let w be the weight that is left out, W the one that remains and ``s = Σ_left w z``. The
    mean moves by ``-s / W``, and the scatter around the new means falls by ``Σ_left u uᵀ`` with
    ``u = sqrt(w) (z + a s)``, ``a = (sqrt(1 + w / W) - 1) / w``.

    Args:
        rows: z ``[1, S, D]``.
        share: w, 0 for padding ``[1, S]``.
        labels: classes of the rows ``[1, S]``.
        ways: how many there are, N.
        left: True for rows that are left out ``[F, S]``.
        together: rows are relative to one mean.
    """
    copies, kept = len(left), torch.where(left, 0, share)  # [F, S]
    place = left.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, : int(left.sum(1).max())]  # [F, R]
    weight = torch.where(left, share, 0).gather(1, place).unsqueeze(-1)  # [F, R, 1]: 0 for some that are not left out
    gone = rows[0][place]  # [F, R, D]
    labels = labels.clamp(min=0)
    slot = labels[0][place] + ways * torch.arange(copies, device=left.device).unsqueeze(1)  # [F, R]

    def of_classes(values: Tensor) -> Tensor:
        sums = values.new_zeros(copies * ways, values.shape[-1]).index_add(0, slot.flatten(), values.flatten(0, 1))
        return sums.view(copies, ways, -1)

    lost, out = of_classes(weight * gone), of_classes(weight)  # [F, N, D], [F, N, 1]
    stays = kept.new_zeros(copies, ways).scatter_add(1, labels.expand(copies, -1), kept).unsqueeze(-1)  # [F, N, 1]
    moved = lost
    if together:
        moved, out, stays = (part.sum(1, keepdim=True) for part in (lost, out, stays))
    some = torch.where(stays > 0, stays, 1)
    shift = torch.where(stays > 0, -moved / some, 0)  # a class that is gone altogether has s = 0
    tiny = torch.finfo(out.dtype).tiny
    more = moved * ((torch.where(stays > 0, 1 + out / some, 1).sqrt() - 1) / out.clamp(min=tiny))
    more = more if together else more.flatten(0, 1)[slot]
    return Remaining(kept, lost, shift, weight.sqrt() * (gone + more))


def differs_enough(after: Tensor, before: Tensor) -> bool:
    """Whether so much of a scatter remains that its difference from another is not all rounding.

    Args:
        after: traces of the scatter that remains ``[F]``.
        before: of all rows ``[1]``.
    """
    return bool((after > _LITTLE * before).all())

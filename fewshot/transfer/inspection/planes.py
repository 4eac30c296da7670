"""Flat pictures of rows: principal or discriminant axes, turned so that neighbouring pictures can be compared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot.transfer.inspection.left_out import left_vectors

PLANES = ("pca", "lda")
_REDUCED = 50  # principal axes that discriminant axes are sought in


@dataclass(frozen=True)
class Plane:
    """Rows on two axes.

    Attributes:
        points: ``[M, 2]``, of mean 0 and mean squared length 1.
        share: of all variance that the plane shows, in 0..1.
    """

    points: Tensor
    share: float


def plane(rows: Tensor, labels: Tensor, kind: str = "pca") -> Plane:
    """The rows on their two principal axes, or on the two that keep class means farthest apart.

    Discriminant axes are sought among the leading principal ones, at most 50 and a quarter of the rows, so that they do
    not separate noise. Two classes have one such axis; the second is then the principal one at right angles to it.
    They are fitted to the rows they show, so classes look somewhat farther apart than they are.

    Args:
        rows: ``[M, D]``.
        labels: ``[M]``.
        kind: ``"pca"`` or ``"lda"``.

    Reference: Belhumeur, Hespanha, Kriegman, "Eigenfaces vs. Fisherfaces", IEEE TPAMI 1997.
    """
    centred = rows.double() - rows.double().mean(0)
    left, squares = left_vectors(centred)
    scores = F.pad(left * squares.sqrt(), (0, max(0, 2 - len(squares))))  # [M, R], principal components
    total = squares.sum()
    if kind == "lda":
        scores = scores[:, : max(2, min(_REDUCED, len(rows) // 4))]
        scores = scores @ _discriminant_axes(scores, labels)
    points = scores[:, :2]
    size = points.square().sum(1).mean().sqrt()
    # Discriminant axes are not at right angles: the share is that of the plane which they span.
    span, _ = torch.linalg.qr(points)
    share = float((span.mT @ (left * squares.sqrt())).square().sum() / total) if total > 0 else 0.0
    return Plane(points / size.clamp(min=1e-30), share)


def turned(points: Tensor, target: Tensor) -> Tensor:
    """Points turned, and mirrored where need be, to lie as near to others of the same rows as can be ``[M, 2]``.

    ``min_R |P R - T|_F`` over orthogonal R: ``R = U V^T`` of ``P^T T = U S V^T``.

    Reference: Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 1966.
    """
    left, _, right = torch.linalg.svd(points.mT @ target)
    return points @ (left @ right)


def common_axes(before: list[Plane], after: list[Plane]) -> tuple[list[Plane], list[Plane]]:
    """Planes of all stages, turned to each other: each to the next before tuning, and those after to those before.

    Args:
        before: from the first stage to the last.
        after: of the same stages, or empty.
    """
    if not before:
        return before, after
    # An axis may point either way; the last plane's are fixed by where the row farthest along each lies.
    last = before[-1].points
    far = last.gather(0, last.abs().argmax(0, keepdim=True)).sign()
    chain = [Plane(last * torch.where(far == 0, 1.0, far), before[-1].share)]
    for one in reversed(before[:-1]):
        chain.insert(0, Plane(turned(one.points, chain[0].points), one.share))
    return chain, [Plane(turned(new.points, old.points), new.share) for new, old in zip(after, chain, strict=False)]


def _discriminant_axes(scores: Tensor, labels: Tensor) -> Tensor:
    """Two axes of unit within-class variance ``[R, 2]``."""
    target = F.one_hot(labels).double()
    means = target.mT @ scores / target.sum(0)[:, None]
    inner = scores - means[labels]
    within = inner.mT @ inner / len(scores)
    within = within + 1e-3 * within.diagonal().mean().clamp(min=1e-30) * torch.eye(len(within), dtype=scores.dtype)
    spread, basis = torch.linalg.eigh(within)
    whiten = basis / spread.clamp(min=1e-30).sqrt()  # [R, R]
    weighted = (means - means.mean(0)) * target.mean(0).sqrt()[:, None]
    _, found, axes = torch.linalg.svd(weighted @ whiten, full_matrices=False)
    kept = axes[: min(2, int((found > found[0] * 1e-9).sum()))].mT  # [R, 1 or 2], orthonormal after whitening
    if kept.shape[1] < 2:
        rest = scores @ whiten
        rest = rest - rest @ kept @ kept.mT
        _, _, others = torch.linalg.svd(rest, full_matrices=False)
        kept = torch.cat([kept, others[:1].mT], 1)
    return whiten @ kept

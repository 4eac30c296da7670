"""How rows lie around their class means, and class means around each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def class_geometry(rows: Tensor, labels: Tensor) -> dict[str, Any]:
    """Variance within and between classes, measures of neural collapse, and distances of class means.

    Args:
        rows: ``[M, D]``.
        labels: ``[M]``.
    """
    target = F.one_hot(labels).double()
    means = target.mT @ rows / target.sum(0)[:, None]  # [C, D]
    classes = len(means)
    centred = means - means.mean(0)
    inner = rows - means[labels]  # [M, D]
    within = inner.square().sum(1).mean()
    between = centred.square().sum(1).mean()
    _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
    kept = singular > singular[0] * 1e-9
    # S_B = V s^2 V^T / C, so tr(S_W S_B^+) / C is the mean of the squared projections on V, each over s^2.
    collapse = ((inner @ axes[kept].mT) / singular[kept]).square().sum(1).mean() if kept.any() else torch.inf
    lengths = centred.norm(dim=1)
    unit = F.normalize(centred, dim=1)
    off = ~torch.eye(classes, dtype=torch.bool)
    angles = (unit @ unit.mT)[off] + 1 / (classes - 1)
    scatter = within.sqrt()
    infinite = torch.tensor(torch.inf, dtype=rows.dtype)
    return {
        "within_between": float(within / between if between > 0 else infinite),
        "collapse": float(collapse),
        "norm_spread": float(lengths.std(correction=0) / lengths.mean()) if between > 0 else 0.0,
        "angle_spread": float(angles.abs().mean()),
        "distances": (torch.cdist(means, means) / scatter.clamp(min=1e-30)).numpy(),
    }

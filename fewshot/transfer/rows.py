"""Rows and labels as the scores take them: checked, in double precision, classes numbered from 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def checked_rows(features: Any, name: str = "features") -> Tensor:
    """Rows ``[M, D]`` in double precision.

    Raises:
        ValueError: another shape, or a value that is not finite.
    """
    rows = torch.as_tensor(features).detach().double()
    if rows.ndim != 2 or not rows.numel():
        raise ValueError(f"{name} are {list(rows.shape)}; they must be rows [M, D] with M and D at least 1.")
    if not rows.isfinite().all():
        row = int((~rows.isfinite().all(1)).nonzero()[0])
        raise ValueError(f"row {row} of {name} contains NaN or infinity; drop or impute such rows.")
    return rows


def checked_labels(labels: Any, rows: int, name: str = "labels") -> Tensor:
    """Labels ``[M]`` as int64 in ``0..C-1``, each class present.

    Raises:
        ValueError: another length, or fewer than two classes.
    """
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.shape != (rows,):
        raise ValueError(f"{name} are {list(array.shape)}; there must be one for each of the {rows} rows.")
    distinct, numbers = np.unique(array, return_inverse=True)
    if len(distinct) < 2:
        raise ValueError(f"{name} hold {len(distinct)} class; a score needs at least two.")
    return torch.from_numpy(numbers.astype(np.int64).reshape(-1))

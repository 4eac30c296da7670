"""The precision that rows are computed in, and what cannot be rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_float(rows: Tensor) -> Tensor:
    """Rows in the precision that learners compute in: half -> float32, 8-bit pixels -> float32 in 0..1."""
    if rows.dtype in (torch.float32, torch.float64):
        return rows
    refuse_unusual(rows, "rows")
    return rows.float().div_(255) if rows.dtype == torch.uint8 else rows.float()


def is_sparse(X: Any) -> bool:
    """Whether it is a sparse matrix of SciPy or a sparse tensor of torch."""
    if isinstance(X, Tensor):
        return X.layout is not torch.strided
    return type(X).__module__.startswith("scipy.sparse")


def refuse_unusual(X: Any, what: str) -> None:
    """Refuse numbers of which a part would be lost.

    Raises:
        ValueError: they are sparse or complex; the message names the conversion.
    """
    if is_sparse(X):
        dense = "to_dense()" if isinstance(X, Tensor) else "toarray()"
        raise ValueError(f"{what} is sparse ({type(X).__name__}), but dense rows are needed; give {what}.{dense}.")
    if isinstance(X, np.ma.MaskedArray):
        raise ValueError(f"{what} is a masked array; fill or drop what is masked, as in {what}.filled(0).")
    if X.is_complex() if isinstance(X, Tensor) else getattr(getattr(X, "dtype", None), "kind", "") == "c":
        raise ValueError(
            f"{what} holds complex numbers, of which one part would be lost; give real ones, such as the absolute "
            "values, or real and imaginary parts side by side."
        )

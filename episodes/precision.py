"""The precision that rows are computed in, and what cannot be rows."""

from __future__ import annotations

import torch
from torch import Tensor


def as_float(rows: Tensor) -> Tensor:
    """Rows in the precision that learners compute in: half -> float32, 8-bit pixels -> float32 in 0..1."""
    if rows.dtype in (torch.float32, torch.float64):
        return rows
    require_real_and_dense(rows, "rows")
    return rows.float().div_(255) if rows.dtype == torch.uint8 else rows.float()


def require_real_and_dense(rows: Tensor, what: str) -> None:
    """Refuse sparse and complex tensors, of which parts would be lost.

    Raises:
        ValueError: it is one; the message calls it `what`.
    """
    if rows.layout != torch.strided or rows.is_complex():
        raise ValueError(
            f"{what}: a tensor of {rows.dtype} and {rows.layout}; it must be dense (x.to_dense()) and real (x.abs(), "
            "or real and imaginary parts side by side)."
        )

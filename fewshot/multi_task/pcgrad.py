"""Gradients of tasks that contradict one another, projected so that they do not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fewshot.multi_task.weighting import Gradients, Weighting


class PCGrad(Weighting):
    """Gradient surgery: ``g_i <- g_i - (g_i . g_j / |g_j|²) g_j`` for every j with ``g_i . g_j < 0``, in random order.

    g_i is the gradient of ``s_i L_i`` in the network, g_j the one before surgery; the network moves along their sum,
    each head along its own gradient. What comes out is a combination of the g with coefficients that follow from their
    products alone, so one more backward pass of the losses, multiplied by these, gives it.

    Reference: Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient surgery for multi-task learning", NeurIPS 2020,
    arXiv:2001.06782.
    """

    name, compares = "pcgrad", True

    def factors(self, shares: Tensor, gradients: Gradients, key: tuple[int, int]) -> Tensor | None:
        """Coefficients of the gradients in the sum after surgery."""
        found = gradients(False)
        if not found:
            return None
        products = torch.stack([_products(parts) for parts in zip(*found, strict=True)]).sum(0)  # [T', T']
        products = products * torch.outer(shares, shares).to(products)
        random = np.random.Generator(np.random.Philox(key=list(key)))
        orders = [random.permutation(len(shares)) for _ in found]
        return torch.from_numpy(coefficients(products.cpu().numpy(), orders)).to(shares)


def coefficients(products: np.ndarray, orders: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """``c [T]`` such that ``sum_i c_i g_i`` is the sum of all gradients after surgery.

    Args:
        products: ``g_i . g_j`` ``[T, T]``.
        orders: for each i, all tasks in the order in which it is projected; i itself is passed over.
    """
    parts = np.eye(len(products))  # row i: the gradient of task i as a combination of all
    for own, (part, order) in enumerate(zip(parts, orders, strict=True)):
        for other in order:
            product = part @ products[:, other]
            if other != own and product < 0:  # so g_other is not zero
                part[other] -= product / products[other, other]
    total: np.ndarray = parts.sum(0)
    return total


def _products(parts: Sequence[Tensor]) -> Tensor:
    rows = torch.stack([part.flatten() for part in parts]).double()  # [T', numbers of one parameter]
    return rows @ rows.T

"""Linear heads that fit the features before anything is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot.maths.temperature import fit_temperature

HEADS = ("prototypes", "ridge", "zero")


class Head(nn.Linear):
    """``logits = W x + b``; with `unit`, of x at length one, as the cosines of class texts are.

    Attributes:
        unit: whether rows are brought to length one first.
    """

    unit = False

    def forward(self, rows: Tensor) -> Tensor:
        """Logits ``[B, C]`` of features ``[B, D]``."""
        return super().forward(F.normalize(rows, dim=-1) if self.unit else rows)


def first_head(kind: str, rows: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weight ``[C, D]`` and bias ``[C]`` of a linear head.

    - prototypes: ``w_c = 2 p_c / T``, ``b_c = -|p_c|² / T`` for class means p: logits ``-|x - p_c|² / T``;
    - ridge: least squares on one-hot labels, penalty the mean squared length of the centred rows, divided by T;
    - zero: zeros.

    The temperature T makes the labels of left-out rows most likely, so that the loss starts where it should; class
    means of single rows leave none out, and T is then a tenth of their mean squared distance.

    Args:
        kind: one of these.
        rows: features ``[M, D]``.
        labels: ``[M]``, each of the C classes present.
        classes: C.
    """
    if kind == "zero":
        return rows.new_zeros(classes, rows.shape[1]), rows.new_zeros(classes)
    exact, one_hot = rows.double(), F.one_hot(labels, classes).double()
    make = _prototypes if kind == "prototypes" else _ridge
    weight, bias, temperature = make(exact, one_hot, labels)
    if temperature <= exact.abs().max() * 1e-12:  # rows that are all equal tell no classes apart
        return rows.new_zeros(classes, rows.shape[1]), rows.new_zeros(classes)
    return (weight / temperature).to(rows.dtype), (bias / temperature).to(rows.dtype)


def linear(weight: Tensor, bias: Tensor) -> Head:
    """A linear layer of given numbers, without drawing others first."""
    head: Head = nn.utils.skip_init(Head, weight.shape[1], 1)  # torch warns where there are no classes
    head.weight, head.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    head.out_features = len(weight)
    return head


def _prototypes(rows: Tensor, one_hot: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, float]:
    centre = rows.mean(0)
    rows = rows - centre  # moved, so that the squares below are small; the head is moved back
    counts = one_hot.sum(0)  # [C]
    means = one_hot.T @ rows / counts.unsqueeze(1)  # [C, D]
    squares = torch.cdist(rows, means).square()  # [M, C]
    own = squares.gather(1, labels.unsqueeze(1)).squeeze(1)
    size = counts[labels]
    alone = size < 2
    # The mean without row i lies n / (n - 1) times as far from it.
    out = squares.scatter(1, labels.unsqueeze(1), (own * (size / (size - 1).clamp(min=1)).square()).unsqueeze(1))
    if alone.all():
        temperature = float(torch.pdist(means).square().mean()) / 10
    else:
        temperature = fit_temperature(-out[~alone], labels[~alone])
    weight, bias = 2 * means, -means.square().sum(1)
    return weight, bias - weight @ centre, temperature


def _ridge(rows: Tensor, one_hot: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, float]:
    mean, share = rows.mean(0), one_hot.mean(0)
    centred, target = rows - mean, one_hot - share
    penalty = float(centred.square().sum(1).mean()) or 1.0
    eye = penalty * torch.eye(min(rows.shape), dtype=rows.dtype, device=rows.device)
    if len(rows) <= rows.shape[1]:  # M equations, or D: whichever are fewer
        gram = centred @ centred.T  # [M, M]
        weight = torch.linalg.solve(gram + eye, target).T @ centred  # [C, D]
        leverage = torch.linalg.solve(gram + eye, gram).diagonal()  # [M]
    else:
        smoother = torch.linalg.solve(centred.T @ centred + eye, centred.T)  # [D, M]
        weight = (smoother @ target).T
        leverage = (centred * smoother.T).sum(1)
    fitted = centred @ weight.T + share
    kept = (1 - leverage - 1 / len(rows)).clamp(min=1e-6)  # each row weighs on its own fit
    left_out = one_hot - (one_hot - fitted) / kept.unsqueeze(1)
    return weight, share - weight @ mean, fit_temperature(left_out, labels)

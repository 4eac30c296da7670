"""A bilinear score of features and class descriptions, learned on seen classes, used on unseen ones."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.maths.linalg import normalize
from fewshot.renamed import renamed


class _Bilinear:
    matrix_: Tensor  # [D, A]

    def scores(self, features: Tensor, classes: Tensor) -> Tensor:
        """``x V c`` of rows and class descriptions: ``[M, D], [C, A] -> [M, C]``; the largest is the answer.

        Raises:
            ValueError: not fitted yet, or of another width than fitted.
        """
        if not hasattr(self, "matrix_"):
            raise ValueError(f"this {type(self).__name__} is not fitted; call fit(features, labels, classes) first.")
        if features.shape[1] != self.matrix_.shape[0] or classes.shape[1] != self.matrix_.shape[1]:
            raise ValueError(
                f"features have {features.shape[1]} columns and classes {classes.shape[1]}; fitted were "
                f"{self.matrix_.shape[0]} and {self.matrix_.shape[1]}."
            )
        return features.to(self.matrix_) @ self.matrix_ @ self._described(classes).to(self.matrix_).T

    def _described(self, classes: Tensor) -> Tensor:
        return classes


class ESZSL(_Bilinear):
    """Embarrassingly simple zero-shot learning: a ridge on both sides, in closed form.

    ``V = (XᵀX + gamma I)⁻¹ Xᵀ Y S (SᵀS + lam I)⁻¹`` with rows X ``[M, D]``, one-hot answers Y ``[M, C]`` and class
    attributes S ``[C, A]``. (With -1 in place of 0, as the paper writes Y, unseen classes suffer from the common part.)
    Features and attributes are best of length one.

    Args:
        gamma: penalty on the side of features.
        lam: penalty on the side of attributes.

    Raises:
        ValueError: one of them is not positive.

    Reference: Romera-Paredes, Torr, "An embarrassingly simple approach to zero-shot learning", ICML 2015.
    """

    def __init__(self, gamma: float = 1.0, lam: float = 1.0) -> None:
        if gamma <= 0 or lam <= 0:
            raise ValueError(f"gamma={gamma}, lam={lam}; both must be positive.")
        self.gamma, self.lam = gamma, lam

    def fit(self, features: Tensor, labels: Tensor, classes: Tensor) -> ESZSL:
        """Solve on rows of seen classes.

        Args:
            features: ``[M, D]``.
            labels: positions in `classes` ``[M]``.
            classes: attributes of the seen classes ``[C, A]``.

        Raises:
            ValueError: not one label for each row, or one that is no position among the classes.
        """
        x, s = features.double(), classes.double()
        _check(x, labels, s)
        y = torch.nn.functional.one_hot(labels, len(s)).double()
        left = torch.linalg.solve(x.T @ x + self.gamma * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y @ s)
        self.matrix_ = torch.linalg.solve(s.T @ s + self.lam * torch.eye(s.shape[1], dtype=s.dtype), left.T).T
        return self


class DeViSE(_Bilinear):
    """A linear map into the space of class vectors, by a ranking loss.

    Minimises ``mean_i Σ_{c != y_i} max(0, margin - x_i V e_y + x_i V e_c)`` over unit class vectors e by gradient
    descent with momentum, over all rows at once.

    Args:
        margin: of the hinge.
        steps: of the descent.
        lr: of the descent.

    Raises:
        ValueError: one of them is not positive.

    Reference: Frome et al., "DeViSE: a deep visual-semantic embedding model", NIPS 2013.
    """

    @renamed(rate="lr")
    def __init__(self, margin: float = 0.1, steps: int = 300, lr: float = 0.1) -> None:
        if margin <= 0 or steps < 1 or lr <= 0:
            raise ValueError(f"margin={margin}, steps={steps}, lr={lr}; positive, at least 1, positive.")
        self.margin, self.steps, self.lr = margin, steps, lr

    def fit(self, features: Tensor, labels: Tensor, classes: Tensor) -> DeViSE:
        """Descend on rows of seen classes; arguments as for `ESZSL.fit`."""
        x, e = features.double(), self._described(classes.double())
        _check(x, labels, e)
        own = torch.nn.functional.one_hot(labels, len(e)).double()
        matrix = torch.zeros(x.shape[1], e.shape[1], dtype=x.dtype)
        velocity = torch.zeros_like(matrix)
        for _ in range(self.steps):
            scores = x @ matrix @ e.T  # [M, C]
            wrong = ((self.margin - (scores * own).sum(1, keepdim=True) + scores) > 0).double() * (1 - own)
            pull = wrong - own * wrong.sum(1, keepdim=True)
            velocity = 0.9 * velocity + x.T @ (pull @ e) / len(x)
            matrix = matrix - self.lr * velocity
        self.matrix_ = matrix
        return self

    def _described(self, classes: Tensor) -> Tensor:
        return normalize(classes, dim=-1)


def _check(features: Tensor, labels: Tensor, classes: Tensor) -> None:
    if len(features) != len(labels) or (len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes)):
        raise ValueError(
            f"{len(features)} rows, {len(labels)} labels and {len(classes)} classes: one label per row is needed, a "
            "position among the classes."
        )

"""How far two domains, or two sets of features, lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fewshot.transfer.rows import checked_rows


def linear_cka(first: Any, second: Any) -> float:
    """Likeness of two sets of features of the same rows, 0..1, whatever their rotation and scale.

    ``|Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F)`` on centred columns; with one-hot labels as `second`, how far classes
    explain the features.

    Args:
        first: ``[M, D]``.
        second: ``[M, D']``.

    Raises:
        ValueError: different numbers of rows.

    Reference: Kornblith, Norouzi, Lee, Hinton, "Similarity of neural network representations revisited", ICML 2019,
    arXiv:1905.00414.
    """
    x, y = checked_rows(first, "first"), checked_rows(second, "second")
    if len(x) != len(y):
        raise ValueError(f"first has {len(x)} rows and second {len(y)}; they must be features of the same rows.")
    x, y = x - x.mean(0), y - y.mean(0)
    if max(x.shape[1], y.shape[1]) > len(x):  # the products of rows are the smaller ones
        k, m = x @ x.mT, y @ y.mT
        between, own, other = (k * m).sum(), k.norm(), m.norm()
    else:
        between, own, other = (y.mT @ x).square().sum(), (x.mT @ x).norm(), (y.mT @ y).norm()
    return float(between / (own * other)) if own > 0 and other > 0 else 0.0


def mmd(source: Any, target: Any) -> float:
    """Squared maximum mean discrepancy under a Gaussian kernel, unbiased; 0 for equal distributions.

    ``E k(s, s') + E k(t, t') - 2 E k(s, t)``, ``k(a, b) = exp(-|a - b|^2 / h)`` with h the median of all squared
    distances between different rows.

    Args:
        source: ``[S, D]``.
        target: ``[U, D]``.

    Raises:
        ValueError: different widths, or fewer than two rows on a side.

    Reference: Gretton, Borgwardt, Rasch, Schölkopf, Smola, "A kernel two-sample test", JMLR 2012.
    """
    x, y = _both(source, target)
    both = torch.cat([x, y]) - torch.cat([x, y]).mean(0)  # distances of centred rows keep their digits
    squares = torch.cdist(both, both).square()
    off = ~torch.eye(len(both), dtype=torch.bool, device=both.device)
    width = squares[off].median().clamp(min=torch.finfo(both.dtype).tiny)
    kernel = (-squares / width).exp()
    s, u = len(x), len(y)
    within = (kernel[:s, :s].sum() - s) / (s * (s - 1)) + (kernel[s:, s:].sum() - u) / (u * (u - 1))
    return float(within - 2 * kernel[:s, s:].mean())


def proxy_a_distance(source: Any, target: Any, *, folds: int = 5, seed: int = 0) -> float:
    """``2 (1 - 2 err)`` of a logistic classifier that tells the domains apart on rows held out, 0..2.

    0: it cannot tell them (a linear classifier is blind to more than means, for instance after each domain was
    standardised by itself); 2: it always can. The error counts both domains alike, whatever their sizes.

    Args:
        source: ``[S, D]``.
        target: ``[U, D]``.
        folds: of the cross-validation.
        seed: of the folds.

    Raises:
        ValueError: different widths, or fewer rows than folds on a side.

    Reference: Ben-David, Blitzer, Crammer, Pereira, "Analysis of representations for domain adaptation", NIPS 2006.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = _both(source, target)
    if min(len(x), len(y)) < folds or folds < 2:
        raise ValueError(f"folds={folds} with {len(x)} source and {len(y)} target rows; 2 up to the smaller of these.")
    rows = torch.cat([x, y]).cpu().numpy()
    domain = np.repeat([0, 1], [len(x), len(y)])
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    cut = StratifiedKFold(folds, shuffle=True, random_state=seed)
    accuracy = float(cross_val_score(model, rows, domain, cv=cut, scoring="balanced_accuracy").mean())
    return max(0.0, 2 * (2 * accuracy - 1))


def _both(source: Any, target: Any) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = checked_rows(source, "source"), checked_rows(target, "target")
    if x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"source is {list(x.shape)} and target {list(y.shape)}; give at least two rows each, equally wide."
        )
    return x, y

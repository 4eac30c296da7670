"""What the rows of a stage say about classes: linear separability, and the geometry of class means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from episodes.intervals import score_interval
from episodes.metrics import METRICS
from fewshot.transfer.domain_distance import linear_cka
from fewshot.transfer.inspection.geometry import class_geometry
from fewshot.transfer.inspection.left_out import left_out_nearest_mean, left_out_ridge
from fewshot.transfer.separation import neighbour_purity

_NEIGHBOURS = 5


@dataclass(frozen=True)
class StageNumbers:
    """The numbers of one stage; shares are in 0..1.

    Attributes:
        name: of the stage.
        width: D, numbers in a row.
        accuracy: of ridge regression on one-hot labels, over rows that were left out.
        interval: half the width of its 95 % interval over rows.
        nearest_mean: accuracy of the nearest class mean, over rows that were left out.
        purity: share of the five nearest rows (by cosine) that are of the same class.
        within_between: variance within classes over variance of the class means, ``tr(S_W) / tr(S_B)``.
        collapse: ``tr(S_W S_B^+) / C``, the first measure of neural collapse; 0: each class is one point.
        norm_spread: standard deviation of the lengths of centred class means over their mean; 0: all equal.
        angle_spread: mean distance of their cosines from ``-1 / (C - 1)``, the widest equal angles.
        cka: linear CKA of the rows with the labels.
        distances: of class means ``[C, C]``, in units of ``sqrt(tr(S_W))``.
        right: rows that ridge regression got right ``[M]``.
        answers: its class of each row ``[M]``.
    """

    name: str
    width: int
    accuracy: float
    interval: float
    nearest_mean: float
    purity: float
    within_between: float
    collapse: float
    norm_spread: float
    angle_spread: float
    cka: float
    distances: NDArray[np.float64]
    right: NDArray[np.bool_]
    answers: NDArray[np.int64]

    @property
    def written(self) -> str:
        """Accuracy in percent with its interval: ``93.0 ± 3.1``, or ``93.0 ± ?`` where rows are too few for one."""
        half = f"{100 * self.interval:.1f}" if METRICS["accuracy"].informs(self.interval) else "?"
        return f"{100 * self.accuracy:.1f} ± {half}"

    def to_dict(self) -> dict[str, Any]:
        """The numbers alone, for JSON, which knows no infinity: None stands for it."""
        left_out = ("right", "answers", "distances")
        numbers = {name: value for name, value in vars(self).items() if name not in left_out}
        finite = {name: None if value in (math.inf, -math.inf) else value for name, value in numbers.items()}
        return {**finite, "distances": self.distances.tolist()}


def measure(name: str, rows: Tensor, labels: Tensor, folds: Tensor) -> StageNumbers:
    """All numbers of one stage.

    Args:
        name: of the stage.
        rows: ``[M, D]``.
        labels: ``[M]``, each of the C classes present.
        folds: of each row ``[M]``.

    Reference: Alain, Bengio, "Understanding intermediate layers using linear classifier probes", ICLR 2017 workshop,
    arXiv:1610.01644; Papyan, Han, Donoho, "Prevalence of neural collapse during the terminal phase of deep learning
    training", PNAS 2020.
    """
    exact = standardised(rows)
    answers = left_out_ridge(exact, labels, folds).argmax(1)
    right = (answers == labels).numpy()
    one_hot = F.one_hot(labels).double()
    geometry = class_geometry(rows.double(), labels)
    return StageNumbers(
        name, rows.shape[1], float(right.mean()), score_interval(right.astype(float)),
        float((left_out_nearest_mean(rows.double(), labels, folds) == labels).double().mean()),
        neighbour_purity(rows, labels, min(_NEIGHBOURS, len(rows) - 1)),
        cka=linear_cka(rows, one_hot), right=right, answers=answers.numpy(), **geometry,
    )  # fmt: skip


def standardised(rows: Tensor) -> Tensor:
    """Columns of mean 0 and variance 1 ``[M, D]``; those that never change stay 0."""
    exact = rows.double()
    centred = exact - exact.mean(0)
    spread = centred.square().mean(0).sqrt()
    return torch.where(spread > 1e-9 * exact.abs().amax().clamp(min=1e-30), centred / spread, 0.0)


def stratified_folds(labels: Tensor, folds: int, seed: int) -> Tensor:
    """A number in 0..folds-1 for each row ``[M]``; the rows of a class are spread as evenly as can be."""
    random = np.random.Generator(np.random.Philox(key=[seed, 0]))
    shuffled = torch.from_numpy(random.permutation(len(labels)))
    order = shuffled[labels[shuffled].argsort(stable=True)]  # class by class
    place = torch.empty_like(order)
    place[order] = torch.arange(len(labels)) % folds
    return place

"""A classifier whose probabilities are also judged by rows without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from fewshot.classifier.adapted import on_device
from fewshot.classifier.calibration import FEW_HELD_OUT, MOST_UNLABELLED, own_temperature
from fewshot.classifier.folds import some_rows
from fewshot.classifier.tuning import TuningEstimator

if TYPE_CHECKING:
    from typing_extensions import Self


class UnlabelledEstimator(TuningEstimator):
    """An estimator that may be given rows such as it will be asked about."""

    _unlabelled: Tensor | None = None  # their features [U, D]

    def calibrate(self, X: Any = None, y: ArrayLike | None = None, *, unlabelled: Any = None) -> Self:
        """Set `temperature_` so that `predict_proba` fits how often predictions are right.

        The most probable classes stay the same. `fit` does it already, without X, unless calibrated=False.

        Args:
            X: examples that were not fitted; by default fitted examples are held out, one of each class at a time,
                and asked of the learner adapted to the others (at most 10 times, and no more often than some 200
                rows take). Where fewer than 10 can be held out the temperature is a guess, unless there are
                unlabelled rows.
            y: their labels.
            unlabelled: in place of X and y, rows such as will be asked about, at least 10, better 10 for each class.
                With one example a class, how they cluster around the examples is all that tells how often answers will
                be right; with K examples it counts for 2 / K.

        Raises:
            ValueError: a label is unknown, one of X and y is missing, or too few unlabelled rows.
        """
        if unlabelled is not None:
            check_is_fitted(self, "_adapted")
            if X is not None or y is not None:
                raise ValueError("calibrate takes labelled rows (X and y) or unlabelled= ones, not both.")
            self._unlabelled = self._without_labels(unlabelled)
        return super().calibrate(X, y)

    def _own_temperature(self) -> float:
        if self.strategy is not None:
            return super()._own_temperature()
        return own_temperature(self._adapted, unlabelled=self._unlabelled)

    def _without_labels(self, X: Any) -> Tensor:
        """Features ``[U, D]`` of what was given as unlabelled, at most 1,000 of them.

        Raises:
            ValueError: fewer than 10, or a learner on images, whose pixels do not cluster by class.
        """
        self._refuse_unlabelled()
        rows = self._rows_to_ask(X)
        if len(rows) < FEW_HELD_OUT:
            raise ValueError(
                f"unlabelled holds {len(rows)} rows, which tell too little; give at least {FEW_HELD_OUT}, better 10 "
                "for each class, or none."
            )
        return on_device(rows[some_rows(len(rows), MOST_UNLABELLED).numpy()], torch.device("cpu"))

    def _refuse_unlabelled(self) -> None:
        """Refuse them where they have no use."""
        if self.strategy is not None:
            raise ValueError(
                f"strategy={str(self.strategy)[:60]!r} sets the temperature by examples held out of fine-tuning, and "
                "the tuned encoder has seen all others; leave unlabelled out."
            )
        if self.learner_.inputs == "images":
            raise ValueError(
                f"unlabelled rows are looked at as features, and {self.learner_!r} reads images; leave them out, or "
                "put an encoder in front of a learner on features."
            )

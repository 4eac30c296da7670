"""From logits to answers: classes, probabilities, the reject label, and the temperature between them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from torch import Tensor

from fewshot.classifier.adapted import HeldOut
from fewshot.classifier.calibration import own_temperature
from fewshot.classifier.conformal import PromisingEstimator
from fewshot.classifier.labels import as_labels, reject_label
from fewshot.maths.temperature import fit_temperature

if TYPE_CHECKING:
    from typing_extensions import Self

    from fewshot.classifier.estimate import Estimate


class AnsweringEstimator(PromisingEstimator):
    """A fitted learner asked for classes and probabilities."""

    def predict(self, X: Any) -> np.ndarray:
        """The most likely class of each row ``[n]``, or the reject label where `reject` says so."""
        return self.answers_about(self._rows_to_ask(X))[1]

    def answers_about(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All about rows that `predict` would make of its X, in one pass over them.

        Returns:
            Probabilities ``[n, N]``, answers ``[n]`` (the class, or the reject label), and which rows are refused
            ``[n]``.
        """
        chances, best = [], []
        for logits in self._answer(rows):
            chances.append(self._softmax(logits))
            best.append(logits.argmax(1))
        chance = torch.cat(chances).numpy()  # [n, N]
        answers = self.classes_[torch.cat(best).numpy()]  # [n]
        refused = self._refused(rows, chance)
        if refused is None:
            return chance, answers, np.zeros(len(answers), bool)
        return chance, np.where(refused, reject_label(self.reject_label, self.classes_), answers), refused

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes ``[n, N]``, in the order of `classes_`: softmax(logits / temperature).

        They order the classes as `decision_function` does. `fit` sets the temperature so that they say how often
        predictions are right; with calibrated=False they have whatever scale the learner's logits have.
        """
        return self._chances(self._rows_to_ask(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """The learner's logits ``[n, N]``; for two classes, second minus first ``[n]``."""
        logits = torch.cat(list(self._answer(self._rows_to_ask(X)))).numpy()
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def calibrate(self, X: Any = None, y: ArrayLike | None = None) -> Self:
        """Set `temperature_` so that `predict_proba` fits how often predictions are right.

        The most probable classes stay the same. `fit` does it already, without X, unless calibrated=False.

        Args:
            X: examples that were not fitted; by default fitted examples are held out, one of each class at a time,
                and asked of the learner adapted to the others (at most 10 times, and no more often than some 200
                rows take). Where fewer than 10 can be held out the temperature is a guess.
            y: their labels.

        Raises:
            ValueError: a label is unknown, or one of X and y is missing.
        """
        check_is_fitted(self, "_adapted")
        if (X is None) != (y is None):
            raise ValueError(
                "calibrate takes X and y together, or neither, to hold out fitted examples; rows without labels are "
                "unlabelled= of a FewShotClassifier."
            )
        if X is None:
            self._adapted.asked = None
            self.temperature_ = self._own_temperature()
            return self
        answers = as_labels(y)
        known = self.classes_[self._known_classes()]
        stray = np.setdiff1d(answers, known)
        if len(stray):
            raise ValueError(f"y contains {stray[:3].tolist()}, of which no example was fitted.")
        logits = torch.cat(list(self._answer(self._rows_to_ask(X))))
        check_consistent_length(logits, answers)
        self._adapted.asked = logits, torch.from_numpy(np.searchsorted(self.classes_, answers))
        self.temperature_ = fit_temperature(*self._adapted.asked)
        return self

    def estimate(self) -> Estimate:
        """How often it will be right, with confusions and examples that look mislabelled: each example is held out.

        Raises:
            ValueError: it has no examples, or several labels for a row.
        """
        from fewshot.classifier.estimate import estimate

        check_is_fitted(self, "_adapted")
        return estimate(self)

    def _answer(self, rows: np.ndarray) -> Iterator[Tensor]:
        """Logits ``[n, N]`` of rows, some at a time."""
        if self._adapted.learner.transductive and len(rows) == 1:
            warnings.warn(
                f"{self._adapted.learner!r} is transductive: it classifies the rows of one call by each other, and a "
                "row alone tells it little. Ask about many rows at once, or choose an inductive learner.",
                stacklevel=3,
            )
        return self._adapted.logits(rows, None if self.batch_size == "auto" else int(self.batch_size))

    def _chances(self, rows: np.ndarray) -> np.ndarray:
        """Probabilities of rows ``[n, N]``."""
        return torch.cat([self._softmax(logits) for logits in self._answer(rows)]).numpy()

    def _softmax(self, logits: Tensor) -> Tensor:
        return (logits / self.temperature_).softmax(1)

    def _answers_held_out(self) -> HeldOut:
        """Every example, asked of a classifier that has not seen it."""
        return self._adapted.held_out(whole=True)

    def _own_temperature(self) -> float:
        return own_temperature(self._adapted)

    def _known_classes(self) -> np.ndarray:
        """Numbers of the classes that can be answered."""
        return self._adapted.episode.labels.unique().cpu().numpy()

    def _refused(self, rows: np.ndarray, chance: np.ndarray) -> np.ndarray | None:
        """Which rows are answered by none of the classes ``[n]``, by probabilities ``[n, C]``; None where all are."""
        strange = self._none_of_these(rows)
        if self.reject is None:
            return strange
        unlikely: np.ndarray = ~(chance.max(1) >= self.reject)
        return unlikely if strange is None else unlikely | strange

    def _none_of_these(self, rows: np.ndarray) -> np.ndarray | None:
        """Which rows are none of the classes, whatever their probabilities ``[n]``; None where nothing tells."""
        return None

    def _rows_to_ask(self, X: Any) -> np.ndarray:
        raise NotImplementedError

"""A classifier that first fine-tunes its encoder on the examples, and is judged by those an encoder has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_consistent_length
from torch import Tensor

from fewshot.classifier.adapted import HeldOut
from fewshot.classifier.answering import AnsweringEstimator
from fewshot.classifier.labels import as_labels
from fewshot.classifier.rows import as_items


class TuningEstimator(AnsweringEstimator):
    """An estimator with a `strategy`; where that is None, the encoder stays frozen and all is as without this class.

    Fine-tuning is imported when it is wanted (`fewshot.classifier.fine_tuned`), as it takes seconds.
    """

    strategy: str | None
    tuning: dict[str, Any] | None
    encoder_: Any

    _held_out: HeldOut | None = None  # answers of encoders that were tuned without the rows
    _tuned_at: Path | None = None  # where `load` finds the tuned encoder
    _training_at: Path | None = None  # where the state of trainings is kept, so that `fit` resumes an interrupted one

    def _tune(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None) -> None:
        """Put a copy of the encoder in its place that was fine-tuned on the examples, and ask others held out."""
        from fewshot.classifier.fine_tuned import fine_tuned, held_out_of_tuning, place_of_training

        if sample_weight is not None:
            raise ValueError("strategy fine-tunes on examples that all count the same; leave sample_weight or it out.")
        answers = as_labels(y)
        check_consistent_length(as_items(X, self.encoder_), answers)
        classes, labels = np.unique(answers, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y holds one class, {classes.tolist()[0]!r}; fine-tuning needs at least two.")
        frozen, names, device = self.encoder_, [str(name) for name in classes.tolist()], self._chosen_device()
        how = {"strategy": str(self.strategy), **(self.tuning or {})}
        out = self._training_at
        if out is not None:
            out = place_of_training(out, frozen, X, labels, names, how)
        whole = None if out is None else out / "whole"
        self.encoder_ = fine_tuned(frozen, X, labels, names, how, self.cache, device, whole)
        if self.calibrated:
            learner = self._own_learner()
            self._held_out = held_out_of_tuning(frozen, X, labels, names, how, learner, self.cache, device, out)

    def _answers_held_out(self) -> HeldOut:
        if self.strategy is None:
            return super()._answers_held_out()
        if self._held_out is None:
            raise ValueError(
                "calibrated=False held no examples out, and the encoder has seen them all; fit with calibrated=True."
            )
        return self._held_out

    @property
    def _plain_logits(self) -> bool:
        # The encoder has seen all examples, so copies of the learner without some of them prove nothing.
        return self.strategy is None

    def _deciding(self) -> tuple[Tensor, Tensor]:
        if self.strategy is None or self._adapted.asked is not None:
            return super()._deciding()
        held_out = self._answers_held_out()
        return held_out.logits, held_out.labels

    def _own_temperature(self) -> float:
        if self.strategy is None:
            return super()._own_temperature()
        from fewshot.classifier.fine_tuned import temperature_of

        return temperature_of(self._answers_held_out(), self._adapted)

    def _check(self) -> None:
        super()._check()
        if self.tuning is not None:
            from fewshot.classifier.fine_tuned import check_tuning

            check_tuning(self.tuning, self.strategy)
        if self.strategy is not None and self.encoder is None:
            raise ValueError(
                f"strategy={str(self.strategy)[:60]!r} fine-tunes an encoder, and encoder=None has none; name one, "
                "such as encoder='timm:mobilenetv2_100'."
            )

    def _restore_tuned(self, tensors: Mapping[str, Tensor], classes: int, examples: int) -> None:
        """The encoder as `save` wrote it, and the held-out answers."""
        from fewshot.classifier.fine_tuned import from_tensors
        from fewshot.transfer import load_tuned

        for name in ("tuned.json", "delta.safetensors"):
            if self._tuned_at is None or not (self._tuned_at / name).is_file():
                raise ValueError(f"'tuned/{name}', of the tuned encoder, is missing; copy the whole folder.")
        assert self._tuned_at is not None
        self.encoder_ = load_tuned(self._tuned_at, self.encoder_)
        self._held_out = from_tensors(tensors, classes, examples) if self.calibrated else None

    def _saved_answers(self) -> dict[str, Tensor]:
        """The held-out answers, as `save` writes them."""
        if self._held_out is None:
            return {}
        from fewshot.classifier.fine_tuned import as_tensors

        return as_tensors(self._held_out)

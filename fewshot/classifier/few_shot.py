"""`FewShotClassifier`: any learner as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, validate_data
from torch import Tensor

from fewshot.classifier.adapted import Adapted, task
from fewshot.classifier.base import LearnerEstimator, warn_uncalibrated
from fewshot.classifier.explanation import Explanation, neighbours_of, verdicts
from fewshot.classifier.labels import as_labels, merge_labels, reject_label
from fewshot.classifier.rows import as_items, check_array, embed_items, item_names, seen_as
from fewshot.classifier.unlabelled import UnlabelledEstimator
from fewshot.learner import Learner

if TYPE_CHECKING:
    from typing_extensions import Self


class FewShotClassifier(UnlabelledEstimator):
    """Classifies features, images or texts from a few labelled examples, with any learner of this library.

    `fit` is one episode of the learner: the examples are its support, the distinct labels its classes; what
    `predict` is given is its query. An inductive learner is asked in steps of bounded memory. A transductive
    one takes all rows of one `predict` call together, as its answers depend on them.

    Args:
        encoder: turns items into features: a spec string (``"timm:mobilenetv2_100"``) or an encoder. X is
            then a sequence of image files, PIL images, 8-bit arrays or texts. None: X is features ``[n, D]``
            (or, for learners on pixels, images ``[n, C, H, W]``, 8-bit ones read as 0..1). An encoder is not copied,
            and one whose weights or preprocessing are changed after `fit` is refused until the next.
        learner: a spec string (``"l2 | ridge(alpha=0.1)"``) or a `Learner`. The default held best over many sets
            of features that it was not chosen on (``benchmarks/defaults.py``). Its hyper-parameters are
            parameters here: ``learner__C``, and ``learner__power__beta`` for a transform before it.
        strategy: how much of the encoder `fit` fine-tunes on the examples first, as in `fewshot.fine_tune`:
            ``"last(1)"``, ``"full"``, ``"lora(8)"``. None: the encoder stays frozen. Calibration and `estimate` then
            fine-tune three times more, each time without a third of the examples, which they ask about.
        tuning: how `strategy` trains: arguments of `fewshot.fine_tune` such as ``{"augment": "flip", "swa": 0.25}``,
            in values that JSON can hold, since they are saved.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        cache: of embeddings, as in `fewshot.embed`: None is the default one, False none.
        batch_size: rows per step of `predict`; ``"auto"`` bounds a step to about 64 MB.
        calibrated: `fit` also sets the temperature of probabilities, by holding out examples (see `calibrate`). It
            costs some more adaptations, and says less of a transductive learner, whose answers depend on how many rows
            it is asked about; False leaves the scale of the learner's logits.
        reject: the least probability of a class that `predict` answers, 0..1; below it, `reject_label`.
            None answers always. A rejected example counts as wrong in `score`.
        reject_label: None is -1 where classes are numbers, ``"unknown"`` where they are names.

    Attributes:
        classes_: distinct labels, sorted ``[N]``.
        support_: the features of the fitted examples ``[S, D]``.
        support_labels_: number of the class of each ``[S]``.
        weights_: of the examples ``[S]``, or None. Examples of weight 0 are not among them.
        temperature_: what logits are divided by in `predict_proba`.
        learner_: the learner used (a copy).
        encoder_: the encoder used (a `fewshot.transfer.TunedEncoder` with `strategy`), or None.
        n_features_in_: D, where X is features.

    >>> X, y = [[0.0, 0.1], [0.2, 0.0], [1.0, 0.9], [0.8, 1.0]], ["cat", "cat", "dog", "dog"]
    >>> classifier = FewShotClassifier(learner="prototypes(scale=4.0)").fit(X, y)
    >>> classifier.predict([[0.1, 0.1], [0.9, 0.8]])
    array(['cat', 'dog'], dtype='<U3')
    >>> classifier.set_params(learner__distance="cosine").learner
    "prototypes(distance='cosine', scale=4.0)"
    """

    saved_parameters: ClassVar[tuple[str, ...]] = (*LearnerEstimator.saved_parameters, "strategy", "tuning")

    _seen: str | None = None  # the kind of items that were fitted, where that is known

    def __init__(
        self,
        encoder: Any = None,
        learner: str | Learner = "l2 | logistic",
        *,
        strategy: str | None = None,
        tuning: dict[str, Any] | None = None,
        device: torch.device | str = "auto",
        cache: Any = None,
        batch_size: int | str = "auto",
        calibrated: bool = True,
        reject: float | None = None,
        reject_label: Any = None,
    ) -> None:
        self.encoder = encoder
        self.learner = learner
        self.strategy = strategy
        self.tuning = tuning
        self.device = device
        self.cache = cache
        self.batch_size = batch_size
        self.calibrated = calibrated
        self.reject = reject
        self.reject_label = reject_label

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, unlabelled: Any = None) -> Self:
        """Learn the classes of `y` from the examples `X`; whatever was learned before is forgotten.

        Args:
            X: features ``[n, D]``, or items for the encoder ``[n]``.
            y: labels, numbers or names ``[n]``.
            sample_weight: how much each example counts ``[n]``: one of weight 2 is two. Not every learner can.
            unlabelled: rows such as will be asked about, at least 10, for probabilities that can be believed with one
                or two examples a class (see `calibrate`); answers stay the same. `partial_fit` remembers them.

        Raises:
            ValueError: rows and labels do not match, rows are not finite, an unknown learner or encoder, weights
                for a learner that has no use for them, or unlabelled rows that are too few or without use.
        """
        with self._or_as_before():
            self._start()
            if unlabelled is not None:
                self._refuse_unlabelled()
                if not self.calibrated:
                    raise ValueError("unlabelled rows set the temperature, which calibrated=False leaves; drop either.")
            if self.strategy is not None:
                X = list(X) if isinstance(X, tuple) else X
                self._tune(X, y, sample_weight)
            rows, y, names = self._read(X, y, reset=True)
            classes, labels = np.unique(y, return_inverse=True)
            weights = self._weights(sample_weight, rows)
            if unlabelled is None:
                return self._adapt(rows, labels, classes, names, weights)
            return self._adapt(rows, labels, classes, names, weights, 1.0).calibrate(unlabelled=unlabelled)

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learn further examples, of known classes or new ones, on top of those learned before.

        The result is that of one `fit` on all examples. Earlier ones are kept as features, so nothing is
        embedded again; only the learner adapts anew, which is quick for few examples.

        Args:
            X: features ``[n, D]``, or items for the encoder ``[n]``.
            y: labels ``[n]``.
            classes: labels that may come later; without examples they get probability 0.
            sample_weight: of these examples ``[n]``; those learned without count 1.

        Raises:
            ValueError: as `fit`; or some labels are numbers and some are names.
        """
        if self.strategy is not None:
            raise ValueError(
                f"strategy={self.strategy!r} fine-tunes the encoder on all examples; fit it anew with all "
                "of them, earlier and further, or leave strategy out."
            )
        with self._or_as_before():
            first = not hasattr(self, "_adapted")
            if first:
                self._start()
            rows, answers, names = self._read(X, y, reset=first)
            weights = self._weights(sample_weight, rows)
            more = [] if classes is None else [as_labels(classes)]
            if first:
                merged = merge_labels(answers, *more)
                return self._adapt(rows, np.searchsorted(merged, answers), merged, names, weights)
            merged = merge_labels(self.classes_, answers, *more)
            earlier = np.searchsorted(merged, self.classes_)[self.support_labels_]
            labels = np.concatenate([earlier, np.searchsorted(merged, answers)])
            if weights is not None or self.weights_ is not None:
                parts = (self.weights_, len(self.support_)), (weights, len(rows))
                weights = np.concatenate([np.ones(count) if part is None else part for part, count in parts])
            return self._adapt(np.concatenate([self.support_, rows]), labels, merged, [*self._names, *names], weights)

    def explain(self, X: Any, neighbours: int = 3) -> list[Explanation]:
        """Predictions with their margin and the fitted examples most like each row.

        Args:
            X: features ``[n, D]``, or items for the encoder ``[n]``.
            neighbours: how many fitted examples to name.

        >>> classifier = FewShotClassifier().fit([[0.0, 1.0], [1.0, 0.0]], ["up", "right"])
        >>> print(*classifier.explain([[0.2, 0.9]], neighbours=1))
        up 93.8 %, before right 6.2 %; like row 0 (up, 0.98)
        """
        rows = self._rows_to_ask(X)
        chance = self._chances(rows)  # [n, N]
        said = verdicts(chance, self.classes_, self._refused(rows, chance))
        alike = neighbours_of(rows, self.support_, self.classes_[self.support_labels_], self._names, neighbours)
        return [Explanation(*verdict, nearest=near) for verdict, near in zip(said, alike, strict=True)]

    def _read(self, X: Any, y: Any = None, *, reset: bool = False) -> tuple[np.ndarray, Any, list[str | None]]:
        """X as rows ``[n, *x]`` with names to show, and y as labels ``[n]`` (None in prediction)."""
        if self.encoder is not None:
            items = as_items(X, self.encoder_, None if reset else self._seen)
            if y is not None or reset:
                y = as_labels(y)
                check_consistent_length(items, y)
            if not reset:
                self._check_encoder(len(items))
            asked, labels = y is None and not reset, None if y is None else y.tolist()
            rows = embed_items(items, self.encoder_, self.cache, self.device, asked=asked, labels=labels)
            self._seen = seen_as(items) if reset else self._seen
            return rows, y, item_names(items)
        X = check_array(X, self.learner_)
        kind = [np.float64, np.float32] if reset else self.support_.dtype
        rules = {"dtype": kind, "reset": reset, "allow_nd": self.learner_.inputs == "images"}
        if y is None and not reset:
            rows = validate_data(self, X, **rules)
        else:
            y = None if y is None else as_labels(y)
            rows, y = validate_data(self, X, y, **rules)
        if not reset and rows.shape[1:] != self.support_.shape[1:]:
            raise ValueError(f"X is {list(rows.shape)}, but rows of shape {list(self.support_.shape[1:])} were fitted.")
        return rows, y, [None] * len(rows)

    def _start(self) -> None:
        """Check the parameters, and make the learner and the encoder of them."""
        self._check()
        warn_uncalibrated(self.reject, self.calibrated)
        self.learner_ = self._own_learner()
        if "text" in self.learner_.needs:
            raise ValueError(
                f"{self.learner_!r} uses words for the classes; ZeroShotClassifier(encoder, "
                f"learner={repr(self.learner_)!r}) has them."
            )
        self.encoder_, self._held_out, self._unlabelled = self._own_encoder(), None, None

    def _rows_to_ask(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "_adapted")
        return self._read(X)[0]

    def _weights(self, sample_weight: ArrayLike | None, rows: np.ndarray) -> np.ndarray | None:
        if sample_weight is None:
            return None
        if not self.learner_.weighted:
            raise ValueError(
                f"{self.learner_!r} cannot weigh its examples; leave sample_weight out, or take a learner that can, "
                "such as 'prototypes', 'ridge' or 'logistic'."
            )
        if not np.asarray(sample_weight).any():
            raise ValueError(
                "Sample weights must contain at least one non-zero number, but all are zero; give at least one example "
                "a positive weight."
            )
        weights = _check_sample_weight(sample_weight, rows, dtype=np.float64, ensure_non_negative=True)
        return np.asarray(weights)

    def _adapt(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        classes: np.ndarray,
        names: list[str | None],
        weights: np.ndarray | None,
        temperature: float | None = None,
    ) -> Self:
        rows, labels = np.array(rows), labels.astype(np.int64)  # a copy: X stays its owner's to change
        if weights is not None:
            counts = weights > 0
            rows, labels, weights = rows[counts], labels[counts], weights[counts]
            names = [name for name, kept in zip(names, counts, strict=True) if kept]
        if self.reject is not None:
            reject_label(self.reject_label, classes)  # complain now, not at the first rejection
        adapted = Adapted(self.learner_, task(rows, labels, len(classes), self._chosen_device(), weights=weights))
        self.classes_, self.support_, self.support_labels_ = classes, rows, labels
        self._names, self._adapted, self.weights_ = names, adapted, weights
        self._note_encoder()
        if temperature is None:
            temperature = self._own_temperature() if self.calibrated else 1.0
        self.temperature_ = temperature
        return self

    def _restore(
        self, tensors: Mapping[str, Tensor], classes: np.ndarray, temperature: float, columns: list[str], more: Any
    ) -> Self:
        """Become what was saved, by adapting to the same examples once more."""
        self._start()
        rows, labels = tensors["support"].numpy(), tensors["labels"].numpy()
        if self.strategy is not None:
            self._restore_tuned(tensors, len(classes), len(rows))
        self._unlabelled = tensors.get("unlabelled")
        weights = tensors["weights"].numpy() if "weights" in tensors else None
        self._adapt(rows, labels, classes, [None] * len(rows), weights, temperature)
        if self.encoder is None:
            self.n_features_in_ = rows.shape[1]
        if columns:
            self.feature_names_in_ = np.array(columns, dtype=object)
        return self

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        tensors = {"support": self.support_, "labels": self.support_labels_}
        if self.weights_ is not None:
            tensors["weights"] = self.weights_
        if self._unlabelled is not None:
            tensors["unlabelled"] = self._unlabelled.numpy()
        held = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}
        return {}, held | self._saved_answers()

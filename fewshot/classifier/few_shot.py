"""`FewShotClassifier`: any learner as a scikit-learn estimator."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from torch import Tensor

from fewshot.classifier.adapted import Adapted
from fewshot.classifier.calibration import fit_temperature
from fewshot.classifier.explanation import Explanation, Neighbour, nearest
from fewshot.classifier.labels import as_labels, merge_labels, reject_label
from fewshot.classifier.parameters import nested_parameters, with_parameters
from fewshot.classifier.rows import as_items, check_array, embed_items, item_names
from fewshot.learner import Learner
from fewshot.learners import load_learner


class FewShotClassifier(ClassifierMixin, BaseEstimator):
    """Classifies features, images or texts from a few labelled examples, with any learner of this library.

    `fit` is one episode of the learner: the examples are its support, the distinct labels its classes; what
    `predict` is given is its query. An inductive learner is asked in steps of bounded memory. A transductive
    one takes all rows of one `predict` call together, as its answers depend on them.

    Args:
        encoder: turns items into features: a spec string (``"timm:mobilenetv2_100"``) or an encoder. X is
            then a sequence of image files, PIL images, 8-bit arrays or texts. None: X is features ``[n, D]``
            (or, for learners on pixels, images ``[n, C, H, W]``, 8-bit ones read as 0..1).
        learner: a spec string (``"l2 | ridge(alpha=0.1)"``) or a `Learner`. The default held best over many sets
            of features that it was not chosen on (``benchmarks/defaults.py``). Its hyper-parameters are
            parameters here: ``learner__C``, and ``learner__power__beta`` for a transform before it.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        cache: of embeddings, as in `fewshot.embed`: None is the default one, False none.
        batch_size: rows per step of `predict`; ``"auto"`` bounds a step to about 64 MB.
        reject: the least probability of a class that `predict` answers, 0..1; below it, `reject_label`.
            None answers always. A rejected example counts as wrong in `score`.
        reject_label: None is -1 where classes are numbers, ``"unknown"`` where they are names.

    Attributes:
        classes_: distinct labels, sorted ``[N]``.
        support_: the features of the fitted examples ``[S, D]``.
        support_labels_: number of the class of each ``[S]``.
        temperature_: what logits are divided by in `predict_proba`: 1 unless `calibrate` was called.
        learner_: the learner used (a copy).
        encoder_: the encoder used, or None.
        n_features_in_: D, where X is features.

    >>> X, y = [[0.0, 0.1], [0.2, 0.0], [1.0, 0.9], [0.8, 1.0]], ["cat", "cat", "dog", "dog"]
    >>> classifier = FewShotClassifier(learner="prototypes(scale=4.0)").fit(X, y)
    >>> classifier.predict([[0.1, 0.1], [0.9, 0.8]])
    array(['cat', 'dog'], dtype='<U3')
    >>> classifier.set_params(learner__distance="cosine").learner
    "prototypes(distance='cosine', scale=4.0)"
    """

    _seen: str | None = None  # the kind of items that were fitted, where that is known
    _adapted: Adapted  # what `fit` makes; its presence says that the classifier is fitted

    def __init__(
        self,
        encoder: Any = None,
        learner: str | Learner = "l2 | logistic",
        *,
        device: torch.device | str = "auto",
        cache: Any = None,
        batch_size: int | str = "auto",
        reject: float | None = None,
        reject_label: Any = None,
    ) -> None:
        self.encoder = encoder
        self.learner = learner
        self.device = device
        self.cache = cache
        self.batch_size = batch_size
        self.reject = reject
        self.reject_label = reject_label

    def fit(self, X: Any, y: ArrayLike) -> FewShotClassifier:
        """Learn the classes of `y` from the examples `X`; whatever was learned before is forgotten.

        Args:
            X: features ``[n, D]``, or items for the encoder ``[n]``.
            y: labels, numbers or names ``[n]``.

        Raises:
            ValueError: rows and labels do not match, rows are not finite, an unknown learner or encoder.
        """
        self._start()
        rows, y, names = self._read(X, y, reset=True)
        classes, labels = np.unique(y, return_inverse=True)
        return self._adapt(rows, labels, classes, names)

    def partial_fit(self, X: Any, y: ArrayLike, classes: ArrayLike | None = None) -> FewShotClassifier:
        """Learn further examples, of known classes or new ones, on top of those learned before.

        The result is that of one `fit` on all examples. Earlier ones are kept as features, so nothing is
        embedded again; only the learner adapts anew, which is quick for few examples.

        Args:
            X: features ``[n, D]``, or items for the encoder ``[n]``.
            y: labels ``[n]``.
            classes: labels that may come later; without examples they get probability 0.

        Raises:
            ValueError: as `fit`; or some labels are numbers and some are names.
        """
        first = not hasattr(self, "_adapted")
        if first:
            self._start()
        rows, answers, names = self._read(X, y, reset=first)
        more = [] if classes is None else [as_labels(classes)]
        if first:
            merged = merge_labels(answers, *more)
            return self._adapt(rows, np.searchsorted(merged, answers), merged, names)
        merged = merge_labels(self.classes_, answers, *more)
        earlier = np.searchsorted(merged, self.classes_)[self.support_labels_]
        labels = np.concatenate([earlier, np.searchsorted(merged, answers)])
        return self._adapt(np.concatenate([self.support_, rows]), labels, merged, [*self._names, *names])

    def predict(self, X: Any) -> np.ndarray:
        """The most likely class of each row ``[n]``, or the reject label where `reject` says so."""
        best, sure = [], []
        for logits in self._logits(X):
            best.append(logits.argmax(1))
            if self.reject is not None:
                sure.append(self._softmax(logits).amax(1) >= self.reject)
        answers = self.classes_[torch.cat(best).numpy()]  # [n]
        if self.reject is None:
            return answers
        return np.where(torch.cat(sure).numpy(), answers, reject_label(self.reject_label, self.classes_))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes ``[n, N]``, in the order of `classes_`: softmax(logits / temperature).

        They order the classes as `decision_function` does. How far they can be trusted depends on the scale
        of the learner's logits, unless `calibrate` has set the temperature.
        """
        return torch.cat([self._softmax(logits) for logits in self._logits(X)]).numpy()

    def decision_function(self, X: Any) -> np.ndarray:
        """The learner's logits ``[n, N]``; for two classes, second minus first ``[n]``."""
        logits = torch.cat(list(self._logits(X))).numpy()
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def calibrate(self, X: Any = None, y: ArrayLike | None = None) -> FewShotClassifier:
        """Set `temperature_` so that `predict_proba` fits how often predictions are right.

        The most probable classes stay the same. `fit` and `partial_fit` set the temperature back to 1.

        Args:
            X: examples that were not fitted; by default each fitted example is left out in turn, and asked
                of the learner adapted to the others.
            y: their labels.

        Raises:
            ValueError: no class has two fitted examples, so none can be left out; or a label is unknown.
        """
        check_is_fitted(self, "_adapted")
        if (X is None) != (y is None):
            raise ValueError("calibrate takes X and y together, or neither, to leave out fitted examples.")
        if X is None:
            logits, labels = self._adapted.left_out()
        else:
            answers = as_labels(y)
            stray = np.setdiff1d(answers, self.classes_[np.unique(self.support_labels_)])
            if len(stray):
                raise ValueError(f"y contains {stray[:3].tolist()}, of which no example was fitted.")
            logits = torch.cat(list(self._logits(X)))
            check_consistent_length(logits, answers)
            labels = torch.from_numpy(np.searchsorted(self.classes_, answers))
        self.temperature_ = fit_temperature(logits, labels)
        return self

    def explain(self, X: Any, neighbours: int = 3) -> list[Explanation]:
        """Predictions with their margin and the fitted examples most like each row.

        Args:
            X: features ``[n, D]``, or items for the encoder ``[n]``.
            neighbours: how many fitted examples to name.

        >>> classifier = FewShotClassifier().fit([[0.0, 1.0], [1.0, 0.0]], ["up", "right"])
        >>> print(*classifier.explain([[0.2, 0.9]], neighbours=1))
        up 66.1 %, before right 33.9 %; like row 0 (up, 0.98)
        """
        check_is_fitted(self, "_adapted")
        rows = self._read(X)[0]
        chance = np.concatenate([self._softmax(logits).numpy() for logits in self._answer(rows)])  # [n, N]
        similarity, index = nearest(rows, self.support_, neighbours)  # [n, neighbours]
        order = np.argsort(-chance, axis=1, kind="stable")  # [n, N]
        return [
            self._explanation(chance[i], order[i], similarity[i].tolist(), index[i].tolist()) for i in range(len(rows))
        ]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the fitted classifier into a folder: ``config.json`` and ``model.safetensors``, no pickle.

        File names of examples are not written, as they may say more than one wants to share.

        Raises:
            ValueError: the learner's spec string does not make it again.
        """
        from fewshot.classifier.saving import save

        check_is_fitted(self, "_adapted")
        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str], **changes: Any) -> FewShotClassifier:
        """Read a classifier that `save` wrote; nothing in the folder is ever executed.

        Args:
            path: the folder.
            changes: parameters that are not saved or shall differ: ``device``, ``cache``, ``reject``, or an
                ``encoder`` that was made in Python.

        Raises:
            ValueError: not such a folder, a damaged one, or one of a later version.
        """
        from fewshot.classifier.saving import load

        return load(cls, Path(path), changes)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters, with `deep` also the learner's as ``learner__name``."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            try:
                nested = nested_parameters(self.learner) if isinstance(self.learner, str | Learner) else {}
            except ValueError:  # a wrong spec is for `fit` to complain about
                nested = {}
            params |= {f"learner__{name}": value for name, value in nested.items()}
        return params

    def set_params(self, **params: Any) -> FewShotClassifier:
        """Set parameters; ``learner__name`` makes a new learner, and leaves one given as an object alone."""
        prefix = "learner__"
        nested = {name.removeprefix(prefix): params[name] for name in params if name.startswith(prefix)}
        super().set_params(**{name: value for name, value in params.items() if not name.startswith(prefix)})
        if nested:
            self.learner = with_parameters(self.learner, nested)
        return self

    def __sklearn_clone__(self) -> FewShotClassifier:
        # The default copies every object deeply; a frozen encoder may weigh gigabytes and never changes.
        params = self.get_params(deep=False)
        shared = ("encoder", "cache")
        return type(self)(**{k: v if k in shared else clone(v, safe=False) for k, v in params.items()})

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if self.encoder is not None:
            tags.input_tags.two_d_array = False
            tags.input_tags.string = True
        return tags

    def _start(self) -> None:
        """Check the parameters, and make the learner and the encoder of them."""
        if not isinstance(self.learner, str | Learner):
            raise ValueError(f"learner={self.learner!r}; give a spec string like 'ridge(alpha=0.1)', or a Learner.")
        if self.reject is not None and not 0 <= self.reject <= 1:
            raise ValueError(f"reject={self.reject!r}; it is a probability 0..1, or None to answer always.")
        if self.batch_size != "auto" and (not isinstance(self.batch_size, int) or self.batch_size < 1):
            raise ValueError(f"batch_size={self.batch_size!r}; it must be 'auto' or at least 1.")
        # A copy: moving a learner to a device or precision changes it.
        self.learner_ = copy.deepcopy(load_learner(self.learner))
        self.encoder_ = None
        if self.encoder is not None:
            from fewshot.encoders import load_encoder

            self.encoder_ = load_encoder(self.encoder)

    def _read(self, X: Any, y: Any = None, *, reset: bool = False) -> tuple[np.ndarray, Any, list[str | None]]:
        """X as rows ``[n, *x]`` with names to show, and y as labels ``[n]`` (None in prediction)."""
        if self.encoder is not None:
            items = as_items(X, self.encoder_, None if reset else self._seen)
            if y is not None or reset:
                y = as_labels(y)
                check_consistent_length(items, y)
            rows = embed_items(items, self.encoder_, self.cache, self.device)
            self._seen = items.kind if reset else self._seen
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

    def _adapt(
        self, rows: np.ndarray, labels: np.ndarray, classes: np.ndarray, names: list[str | None]
    ) -> FewShotClassifier:
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(chosen if self.device == "auto" else self.device)
        rows, labels = np.array(rows), labels.astype(np.int64)  # a copy: X stays its owner's to change
        if self.reject is not None:
            reject_label(self.reject_label, classes)  # complain now, not at the first rejection
        adapted = Adapted(self.learner_, rows, labels, len(classes), device)
        # All at once, so that an error above leaves an earlier fit as it was.
        self.classes_, self.support_, self.support_labels_ = classes, rows, labels
        self.temperature_, self._names, self._adapted = 1.0, names, adapted
        return self

    def _restore(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        classes: np.ndarray,
        temperature: float,
        columns: list[str],
    ) -> FewShotClassifier:
        """Become what was saved, by adapting to the same examples once more."""
        self._start()
        self._adapt(rows, labels, classes, [None] * len(rows))
        self.temperature_ = temperature
        if self.encoder is None:
            self.n_features_in_ = rows.shape[1]
        if columns:
            self.feature_names_in_ = np.array(columns, dtype=object)
        return self

    def _logits(self, X: Any) -> Iterator[Tensor]:
        check_is_fitted(self, "_adapted")
        return self._answer(self._read(X)[0])

    def _answer(self, rows: np.ndarray) -> Iterator[Tensor]:
        return self._adapted.logits(rows, None if self.batch_size == "auto" else int(self.batch_size))

    def _softmax(self, logits: Tensor) -> Tensor:
        return (logits / self.temperature_).softmax(1)

    def _explanation(
        self, chance: np.ndarray, order: np.ndarray, similarity: list[float], index: list[int]
    ) -> Explanation:
        best, *others = order.tolist()
        top, second = float(chance[best]), float(chance[others[0]]) if others else 0.0
        return Explanation(
            label=self.classes_[best],
            probability=top,
            runner_up=self.classes_[others[0]] if others else None,
            margin=top - second,
            rejected=self.reject is not None and top < self.reject,
            nearest=tuple(
                Neighbour(row, self.classes_[self.support_labels_[row]], cosine, self._names[row])
                for row, cosine in zip(index, similarity, strict=True)
            ),
        )

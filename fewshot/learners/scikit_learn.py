"""Any scikit-learn classifier as a learner, fitted anew for each episode."""

from __future__ import annotations

import ast
import functools
import threading
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.outliers import distance_to_means
from fewshot.registry import unknown

_SCANNING = threading.Lock()


class SklearnState(NamedTuple):
    """The support itself: fitted estimators are no tensors, so fitting is left to `predict`."""

    support: Tensor  # [E, S, D]
    labels: Tensor  # [E, S]
    present: Tensor  # [E, N]
    seeds: Tensor  # [E]


class SklearnLearner(Learner):
    """Fits a scikit-learn classifier to each episode, one after the other: general, and slow.

    Logits are its decision values, else the logarithms of its probabilities, else 0 and 1 for its
    predictions. An estimator whose ``random_state`` is None is seeded with the episode's number.

    Args:
        estimator: name (``"SVC"``) or path (``"sklearn.svm.SVC"``) of a scikit-learn classifier; or an
            unfitted estimator, of any package, which is never changed.
        arguments: of the class; None for its defaults, and where an estimator is given.

    Raises:
        ValueError: unknown class or argument, not a classifier, or arguments beside an estimator.

    Reference: Pedregosa et al., "Scikit-learn: machine learning in Python", JMLR 2011, arXiv:1201.0490.

    Example:
        >>> SklearnLearner("sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": 1})
        sklearn(estimator='sklearn.neighbors.KNeighborsClassifier', arguments={'n_neighbors': 1})
    """

    name: ClassVar[str] = "sklearn"

    def __init__(
        self,
        estimator: Any = "sklearn.linear_model.RidgeClassifier",
        arguments: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.estimator = estimator
        self.arguments = arguments
        # Found once, here: scikit-learn is scanned for a name, which takes seconds.
        self._kind = _find(estimator) if isinstance(estimator, str) else None
        self._make()  # wrong arguments raise now

    def adapt(self, support: Support) -> SklearnState:
        """Keep the support."""
        count = len(support)
        seeds = torch.zeros(count, dtype=torch.int64) if support.ids is None else support.ids
        return SklearnState(support.support, support.labels, support.shots > 0, seeds)

    def predict(self, state: SklearnState, query: Tensor) -> Tensor:
        """Fit each episode, and score its queries."""
        logits = np.full((len(query), query.shape[1], state.present.shape[1]), -np.inf)
        supports, queries = (_rows(rows) for rows in (state.support, query))
        labels = state.labels.cpu().numpy()
        for e, seed in enumerate(state.seeds.tolist()):
            known = labels[e] >= 0
            classes = np.unique(labels[e][known])
            if len(classes) < 2:  # nothing to tell apart, which most classifiers refuse
                logits[e][:, classes] = 0
                continue
            fitted = self._make(seed).fit(supports[e][known], labels[e][known])
            logits[e][:, classes] = _scores(fitted, queries[e])
        return torch.from_numpy(logits).to(query)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest class mean."""
        return distance_to_means(episode)

    def _make(self, seed: int = 0) -> Any:
        """A fresh estimator."""
        from sklearn.base import BaseEstimator, clone, is_classifier

        if self._kind is not None:
            try:
                made = self._kind(**(self.arguments or {}))
            except TypeError as error:
                raise ValueError(f"arguments={self.arguments!r} do not fit {self.estimator}: {error}") from None
        elif self.arguments is not None:
            raise ValueError("arguments belong to an estimator given by name; this one carries its own.")
        elif not isinstance(self.estimator, BaseEstimator) or not is_classifier(self.estimator):
            raise ValueError(f"estimator={self.estimator!r}; it must be a classifier: an instance, or a name.")
        else:
            made = clone(self.estimator)
        loose = [name for name, value in made.get_params().items() if _is_loose(name, value)]
        return made.set_params(**dict.fromkeys(loose, seed % 2**32))

    def __repr__(self) -> str:
        """The spec string; one that shows an estimator beyond literals cannot be loaded."""
        if isinstance(self.estimator, str):
            return super().__repr__()
        kind = type(self.estimator)
        given = self.estimator.get_params(deep=False)
        try:
            usual = kind().get_params(deep=False)
            changed = {k: v for k, v in given.items() if not (v is usual[k] or repr(v) == repr(usual[k]))}
            if kind.__module__.partition(".")[0] == "sklearn" and ast.literal_eval(repr(changed)) == changed:
                return repr(SklearnLearner(_path(kind), changed or None))
        except (ValueError, SyntaxError, TypeError):
            pass
        return f"sklearn(estimator={self.estimator!r})"


def _find(path: str) -> type:
    """The classifier class of that name or path."""
    from sklearn.base import ClassifierMixin

    module, _, name = path.rpartition(".")
    # A spec string may come from a file: it must not be able to import just anything.
    if module.partition(".")[0] == "sklearn":
        try:
            found = getattr(import_module(module), name, None)
        except ImportError:
            found = None
        if isinstance(found, type) and issubclass(found, ClassifierMixin):
            return found
    known = _classifiers()
    short = {kind.__name__: kind for kind in known.values()}
    if path in short:
        return short[path]
    raise ValueError(
        unknown("scikit-learn classifier", path, short if not module else known)
        + " Give a classifier of another package as an instance."
    )


def _classifiers() -> dict[str, type]:
    """All classifiers of scikit-learn by path."""
    with _SCANNING:  # the scan imports modules and changes warning filters, which threads must not do together
        return _scanned()


@functools.cache
def _scanned() -> dict[str, type]:
    from sklearn.utils import all_estimators

    return {_path(kind): kind for _, kind in all_estimators(type_filter="classifier")}


def _path(kind: type) -> str:
    """``sklearn.svm.SVC`` for the class that lives in ``sklearn.svm._classes``."""
    public = [part for part in kind.__module__.split(".") if not part.startswith("_")]
    return ".".join([*public, kind.__name__])


def _is_loose(name: str, value: Any) -> bool:
    return value is None and (name == "random_state" or name.endswith("__random_state"))


def _rows(rows: Tensor) -> NDArray[Any]:
    return rows.detach().flatten(2).cpu().numpy()


def _scores(fitted: Any, query: NDArray[Any]) -> NDArray[Any]:
    """Scores ``[Q, classes]`` of which the largest is the prediction."""
    classes = len(fitted.classes_)
    if hasattr(fitted, "decision_function"):
        values = np.asarray(fitted.decision_function(query), dtype=np.float64)
        if values.ndim == 1:  # two classes: the log odds of the second
            return np.stack([-values / 2, values / 2], axis=1)
        if values.shape[1] == classes:
            return values
    if hasattr(fitted, "predict_proba"):
        return np.log(np.maximum(fitted.predict_proba(query), np.finfo(np.float32).tiny))
    return (fitted.predict(query)[:, None] == fitted.classes_).astype(np.float64)

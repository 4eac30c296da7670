"""`Predictions`: the predicted class of each query, and what can be computed from all of them together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.episode_map import EpisodeMap, as_arrays, from_arrays, map_names
from episodes.files import write_atomically
from episodes.identity import digest_array
from episodes.scores import BINS, LEAST_PROBABILITY

_DTYPES = {
    "counts": np.int32, "rows": np.int64, "targets": np.int32, "predicted": np.int32, "confidence": np.float32,
    "log_likelihood": np.float32,
}  # fmt: skip


@dataclass(frozen=True)
class ScoresOfClass:
    """How the queries of one class were classified."""

    name: str
    queries: int
    accuracy: float
    precision: float
    f1: float


@dataclass(frozen=True)
class Confusion:
    """Queries by class and predicted class.

    Attributes:
        names: of the classes that occur ``[C]``.
        counts: queries of class i that were predicted as class j ``[C, C]``.
    """

    names: list[str]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """Predictions for all scored queries, episode after episode; 24 bytes for each.

    Attributes:
        counts: scored queries of each episode ``[E]``; their sum is P.
        rows: row of each query in the dataset ``[P]``.
        targets: its class in the dataset ``[P]``.
        predicted: the predicted class ``[P]``, one of those of its episode.
        confidence: probability of that class, by softmax of the logits ``[P]``.
        log_likelihood: log-probability of the right class ``[P]``.
        class_names: of the dataset's classes.
        maps: a hard and a typical episode in the plane, at most 400 rows of each.
    """

    counts: NDArray[np.int32]
    rows: NDArray[np.int64]
    targets: NDArray[np.int32]
    predicted: NDArray[np.int32]
    confidence: NDArray[np.float32]
    log_likelihood: NDArray[np.float32]
    class_names: Sequence[str] = ()
    maps: Sequence[EpisodeMap] = ()

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.counts)

    @property
    def accuracy(self) -> float:
        """Share of all queries that were classified correctly."""
        return float((self.predicted == self.targets).mean())

    @property
    def log_loss(self) -> float:
        """Mean of minus the log-probability of the right class, in nats."""
        return float(-np.maximum(self.log_likelihood.astype(np.float64), np.log(LEAST_PROBABILITY)).mean())

    @property
    def macro_f1(self) -> float:
        """Mean of F1 over the classes that have queries or were predicted."""
        return float(np.mean([one.f1 for one in self.per_class()]))

    @property
    def balanced_accuracy(self) -> float:
        """Mean of accuracy over the classes that have queries."""
        return float(np.mean([one.accuracy for one in self.per_class() if one.queries]))

    def calibration_error(self, bins: int = BINS) -> float:
        """Expected calibration error of all predictions together: ``sum_b n_b / n |accuracy_b - confidence_b|``."""
        confidence = self.confidence.astype(np.float64)
        place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        gaps = np.bincount(place, (self.predicted == self.targets) - confidence, minlength=bins)
        return float(np.abs(gaps).sum() / len(confidence))

    def confusion(self) -> Confusion:
        """Queries by their class and their predicted class; only classes that occur."""
        classes, place = np.unique(np.concatenate([self.targets, self.predicted]), return_inverse=True)
        true, predicted = place.reshape(2, -1)
        counts = np.bincount(true * len(classes) + predicted, minlength=len(classes) ** 2)
        return Confusion([self._name(c) for c in classes], counts.reshape(len(classes), -1).astype(np.int64))

    def per_class(self) -> list[ScoresOfClass]:
        """Accuracy (recall), precision and F1 of each class that occurs; 0 where there is nothing to divide by."""
        classes, place = np.unique(np.concatenate([self.targets, self.predicted]), return_inverse=True)
        true, predicted = place.reshape(2, -1)
        queries, predictions = (np.bincount(p, minlength=len(classes)) for p in (true, predicted))
        right = np.bincount(true[true == predicted], minlength=len(classes))
        return [
            ScoresOfClass(self._name(c), int(q), r / max(q, 1), r / max(a, 1), 2 * r / (q + a))
            for c, q, a, r in zip(classes, queries.tolist(), predictions.tolist(), right.tolist(), strict=True)
        ]

    def first(self, episodes: int) -> Predictions:
        """Those of the first episodes."""
        stop = int(self.counts[:episodes].sum())
        cut = {name: getattr(self, name)[:stop] for name in _DTYPES if name != "counts"}
        maps = [one for one in self.maps if one.episode < episodes]
        return Predictions(counts=self.counts[:episodes], **cut, class_names=self.class_names, maps=maps)

    def of_scores(self, scores: NDArray[np.float64], *, accuracies: bool) -> Predictions:
        """Those that belong to these scores of episodes.

        Raises:
            ValueError: there are not so many, or they give other accuracies.
        """
        if len(self) < len(scores):
            raise ValueError(
                f"predictions were kept of {len(self):,} of {len(scores):,} episodes; evaluate again with "
                "keep_predictions=True."
            )
        kept = self.first(len(scores))
        if accuracies and not np.allclose(kept.accuracies(), scores, atol=1e-9):
            raise ValueError("the predictions that were kept give other accuracies than the results beside them.")
        return kept

    def accuracies(self) -> NDArray[np.float64]:
        """Accuracy of each episode ``[E]``."""
        episode = np.repeat(np.arange(len(self)), self.counts)
        right = np.bincount(episode, self.predicted == self.targets, minlength=len(self))
        return right / np.maximum(self.counts, 1)

    def save(self, path: Path, key: str) -> None:
        """Write a safetensors file, replacing it in one step.

        Args:
            path: of the file; its folder is made.
            key: of the result they belong to.
        """
        from safetensors.numpy import save

        arrays = self._arrays()
        metadata = {"key": key, "digest": _digest(arrays), "class_names": json.dumps(list(self.class_names))}
        if self.maps:
            drawn = as_arrays(self.maps)
            arrays |= drawn
            metadata["maps"] = _digest(drawn)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(arrays, metadata))

    @staticmethod
    def joined(parts: Sequence[Predictions]) -> Predictions:
        """Those of consecutive episodes as one, without maps."""
        columns: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in parts]) for name in _DTYPES}
        return Predictions(**columns, class_names=parts[0].class_names)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {name: np.ascontiguousarray(getattr(self, name), dtype) for name, dtype in _DTYPES.items()}

    def _name(self, number: int) -> str:
        return str(self.class_names[number]) if number < len(self.class_names) else str(number)


def load_predictions(path: Path, key: str) -> Predictions:
    """The predictions in a file that `Predictions.save` wrote.

    Raises:
        ValueError: it is not there, damaged, or of another result.
    """
    from safetensors import SafetensorError, safe_open

    remedy = "remove it and evaluate again with keep_predictions=True."
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is missing, with the predictions that were kept; evaluate again.")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in _DTYPES}
            drawn = {name: file.get_tensor(name) for name in map_names()} if "maps" in metadata else {}
        names = json.loads(metadata.get("class_names", "[]"))
    except (SafetensorError, OSError, ValueError, RecursionError, TypeError, KeyError) as error:
        raise ValueError(f"{str(path)!r} is damaged ({error}); {remedy}") from None
    if metadata.get("key") != key:
        raise ValueError(f"{str(path)!r} holds predictions of another result; {remedy}")
    sound = all(arrays[name].dtype == dtype and arrays[name].ndim == 1 for name, dtype in _DTYPES.items())
    sound = sound and metadata.get("digest") == _digest(arrays) and isinstance(names, list)
    if not sound or {len(arrays[name]) for name in _DTYPES if name != "counts"} != {int(arrays["counts"].sum())}:
        raise ValueError(f"{str(path)!r} is damaged: its checksum is of other content; {remedy}")
    try:
        if drawn and metadata["maps"] != _digest(drawn):
            raise ValueError("its checksum is of other maps")
        maps = from_arrays(drawn) if drawn else []
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}; {remedy}") from None
    return Predictions(**arrays, class_names=[str(name) for name in names], maps=maps)


def predictions_path(results: Path, key: str) -> Path:
    """Where the predictions of a result are kept, beside the file of results."""
    return results.with_name(f"{results.name}.predictions") / f"{key}.safetensors"


def _digest(arrays: dict[str, NDArray[Any]]) -> str:
    return "".join(digest_array(array)[:8] for array in arrays.values())

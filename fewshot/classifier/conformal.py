"""Sets of classes that hold the true one as often as asked, and the threshold that keeps errors as rare as asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from fewshot.classifier.adapted import Adapted, marked, on_device
from fewshot.classifier.base import LearnerEstimator
from fewshot.classifier.folds import held_out_folds, some_rows

_STEP_NUMBERS = 2**24  # as in `Adapted`: 64 MB in float32
_FOLD_ROWS = 512  # of a fold that are asked about


def strangeness(logits: Tensor) -> Tensor:
    """How ill each class fits ``[..., N]``: minus its log odds, ``log Σ_(m≠n) exp(l_m) - l_n``.

    It orders rows and classes as ``1 - p_n`` does, but tells apart probabilities that round to 0 or 1.
    """
    best = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, logits.argmax(-1, keepdim=True), True)
    whole = logits.logsumexp(-1, keepdim=True)
    others = logits.masked_fill(best, -torch.inf).logsumexp(-1, keepdim=True)
    share = (logits - whole).exp().clamp(max=0.5)  # what any class but the best has at most, so nothing cancels
    return torch.where(best, others, whole + torch.log1p(-share)) - logits


def split_sets(scores: Tensor, asked: Tensor, coverage: float) -> Tensor:
    """Split conformal sets: classes whose score is at most the ``ceil((M + 1) coverage)``-th smallest of all held out.

    Args:
        scores: of the true class of rows that were not fitted ``[M]``.
        asked: of each class of new rows ``[n, N]``.
        coverage: how often the set shall hold the true class.

    Returns:
        ``[n, N]``; all True where M is too small to promise anything.

    Reference: Vovk, Gammerman, Shafer, "Algorithmic learning in a random world", Springer 2005; Angelopoulos, Bates,
    "Conformal prediction: a gentle introduction", Foundations and Trends in Machine Learning 2023, arXiv:2107.07511.
    """
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)
    if rank > len(scores):
        return torch.ones_like(asked, dtype=torch.bool)
    return asked <= scores.sort().values[rank - 1]


def cross_sets(scores: Tensor, fold: Tensor, asked: Tensor, coverage: float) -> Tensor:
    """Cross-conformal sets: classes that look strange beside fewer than ``coverage (M + 1)`` of the rows held out.

    ``{n : Σ_i [s_i < s_n^(without the fold of i)] < coverage (M + 1)}``: each held-out row is compared with what the
    learner says that had not seen it either. The promise is ``2 coverage - 1`` at least, as of the jackknife+, and
    `coverage` or more is usual.

    Args:
        scores: of the true class of each held-out row, by the learner without its fold ``[M]``.
        fold: number of that fold ``[M]``.
        asked: scores of each class of new rows by each learner ``[F, n, N]``.
        coverage: how often the set shall hold the true class.

    Returns:
        ``[n, N]``; all True where M is too small to promise anything.

    Reference: Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence 2015,
    arXiv:1208.0806; Barber, Candès, Ramdas, Tibshirani, "Predictive inference with the jackknife+", Annals of
    Statistics 2021, arXiv:1905.02928.
    """
    strange = torch.zeros(asked.shape[1:], dtype=torch.int64)
    for number, one in enumerate(asked):
        # How many held-out rows of the fold lie below: a search in a sorted list.
        strange += torch.searchsorted(scores[fold == number].sort().values, one.contiguous())
    return strange < coverage * (len(scores) + 1) - 1e-9


def threshold_for(chance: Tensor, right: Tensor, error: float) -> float | None:
    """The least probability above which no more than a share of the answers is wrong, one more error counted.

    Args:
        chance: largest probability of each held-out row ``[M]``.
        right: whether its class was the true one ``[M]``.
        error: that share.

    Returns:
        None where no threshold keeps ``(errors + 1) / answers`` that low.

    Reference: Geifman, El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017, arXiv:1705.08500.
    """
    chance, order = chance.sort(descending=True)
    wrong = (~right[order]).cumsum(0) + 1
    answers = torch.arange(1, len(chance) + 1)
    # Rows of the same probability are answered together.
    last = torch.cat([chance[1:] < chance[:-1], torch.ones(min(1, len(chance)), dtype=torch.bool)])
    fine = ((wrong <= error * answers + 1e-9) & last).nonzero()
    return float(chance[fine[-1, 0]]) if len(fine) else None


class Folds:
    """Copies of a learner, each adapted without some examples, and how strange those found them."""

    def __init__(self, adapted: Adapted) -> None:
        episode = adapted.episode
        self.adapted, labels = adapted, episode.labels[0]
        self.folds = held_out_folds(labels)
        self.states: list[Any] = []
        cost = episode.support.numel() + labels.numel() ** 2
        self.size = max(1, _STEP_NUMBERS // max(1, cost))  # folds of a batch
        for start in range(0, len(self.folds), self.size):
            rows = self.folds[start : start + self.size]
            left = torch.cat([marked(held.unsqueeze(0), len(labels)) for held in rows])  # [F, S]
            with torch.no_grad():
                self.states.append(adapted.learner.adapt_without(adapted.state, episode, left))

    def logits(self, rows: Tensor) -> Tensor:
        """Of all copies, for the same rows ``[F, n, N]``."""
        with torch.no_grad():
            return torch.cat([
                self.adapted.learner.predict(state, rows.expand(min(self.size, len(self.folds) - start), *rows.shape))
                for state, start in zip(self.states, range(0, len(self.folds), self.size), strict=True)
            ]).cpu()  # fmt: skip

    def held_out(self, temperature: float) -> tuple[Tensor, Tensor]:
        """Scores of the true class of the held-out rows, and their folds ``[M]``."""
        episode = self.adapted.episode
        scores, numbers = [torch.zeros(0)], [torch.zeros(0, dtype=torch.int64)]
        if self.folds:
            parts = [held[some_rows(len(held), _FOLD_ROWS).to(held.device)] for held in self.folds]
            rows = torch.cat(parts)
            fold = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(part) for part in parts]))
            logits = self.logits(episode.support[0][rows])[fold, torch.arange(len(rows))]  # [M, N]
            labels = episode.labels[0][rows].cpu()
            scores.append(strangeness(logits / temperature).gather(-1, labels.unsqueeze(-1)).squeeze(-1))
            numbers.append(fold)
        return torch.cat(scores), torch.cat(numbers)


class PromisingEstimator(LearnerEstimator):
    """A fitted learner asked for sets of classes, for few errors, or what is like nothing it knows."""

    classes_: np.ndarray
    temperature_: float

    def predict_set(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Which classes may be the true one ``[n, N]``, so that it is among them as often as asked.

        With rows given to `calibrate` these decide (split conformal, which keeps its promise over rows like them).
        Otherwise fitted examples do, each held out with one of every other class (cross-conformal: the proven promise
        is ``2 coverage - 1``, and `coverage` or more is usual; for a transductive learner nothing is proven). With
        too few to promise anything, such as one per class, every class is in the set; `coverage` 0.9 takes 9 rows
        that can be held out.

        Args:
            X: features ``[n, D]``, or items for the encoder ``[n]``.
            coverage: between 0 and 1.

        Returns:
            True for classes in the set, in the order of `classes_`; at least one a row.

        Raises:
            ValueError: coverage is out of range, or there are no labelled rows.

        Reference: Vovk, "Cross-conformal predictors", 2015; Angelopoulos, Bates, "Conformal prediction: a gentle
        introduction", 2023; Barber et al., "Predictive inference with the jackknife+", 2021.
        """
        check_is_fitted(self, "_adapted")
        if not 0 < coverage < 1:
            raise ValueError(f"coverage={coverage!r}; it must lie between 0 and 1, such as 0.9.")
        self._check_labelled("predict_set")
        rows, adapted = self._rows_to_ask(X), self._adapted
        if adapted.asked is None and not adapted.learner.transductive and self._plain_logits:
            return self._cross_sets(rows, coverage)
        logits, labels = self._deciding()
        scores = strangeness(logits / self.temperature_).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        asked = torch.cat(list(self._answer(rows)))
        found = split_sets(scores, strangeness(asked / self.temperature_), coverage)
        return _not_empty(found, asked)

    def reject_for_error(self, error: float = 0.05) -> float:
        """The `reject` with which no more than a share of the answers is wrong, by rows that were held out.

        ``classifier.set_params(reject=classifier.reject_for_error(0.05))``. Rows are those given to `calibrate`, or
        else fitted examples held out in turn. One error more than there were is counted, as few rows show few.

        Raises:
            ValueError: the share is out of range, there are no labelled rows, or too few to keep it.
        """
        check_is_fitted(self, "_adapted")
        if not 0 < error < 1:
            raise ValueError(f"error={error!r}; it must lie between 0 and 1, such as 0.05.")
        self._check_labelled("reject_for_error")
        logits, labels = self._deciding()
        chance, best = (logits / self.temperature_).softmax(-1).max(-1)
        found = threshold_for(chance, best == labels, error)
        if found is None:
            raise ValueError(
                f"with {len(labels)} held-out rows, {int((best != labels).sum())} of them wrong, no threshold keeps "
                f"errors at {error:g}; it takes {math.ceil(1 / error)} that are right. Fit more examples, give more "
                "rows to calibrate(X, y), or allow more errors."
            )
        return found

    def outlier_score(self, X: Any) -> np.ndarray:
        """How little each row is like any of the classes ``[n]``: the larger, the stranger.

        The learner's own score (a distance or minus a log likelihood, whatever its unit): for ranking rows, or for a
        threshold found on rows that are known to be strange.
        """
        check_is_fitted(self, "_adapted")
        rows, adapted = self._rows_to_ask(X), self._adapted
        if len(adapted.episode) > 1:
            raise ValueError("outlier_score is of one class per row; with multi_label=True look at the probabilities.")
        found, start = [], 0
        for logits in self._answer(rows):
            query = on_device(rows[start : start + len(logits)], adapted.episode.support.device)
            episode = adapted.episode.with_query(query.to(adapted.episode.support.dtype)[None])
            with torch.no_grad():
                score = adapted.learner.outlier_score(episode, logits.to(query.device)[None])
            found.append(score[0].cpu())
            start += len(logits)
        return torch.cat(found).numpy()

    @property
    def _plain_logits(self) -> bool:
        """Whether answers are the learner's own logits, so that copies of it answer alike."""
        return not getattr(self, "correct_bias", False)

    def _cross_sets(self, rows: np.ndarray, coverage: float) -> np.ndarray:
        folds = self._adapted.folds
        if folds is None:
            folds = self._adapted.folds = Folds(self._adapted)
        scores, fold = folds.held_out(self.temperature_)
        support = self._adapted.episode.support
        step = max(1, _STEP_NUMBERS // (max(1, len(folds.folds)) * (len(self.classes_) + support[0].shape[0]) + 1))
        found = []
        for start in range(0, len(rows), step):
            asked = on_device(rows[start : start + step], support.device).to(support.dtype)
            if not len(scores):
                found.append(np.ones((len(asked), len(self.classes_)), bool))
                continue
            logits = folds.logits(asked)  # [F, n, N]
            sets = cross_sets(scores, fold, strangeness(logits / self.temperature_), coverage)
            found.append(_not_empty(sets, logits.softmax(-1).mean(0)))
        return np.concatenate(found)

    def _deciding(self) -> tuple[Tensor, Tensor]:
        """Logits ``[M, N]`` and classes of rows that were not fitted, or that were held out."""
        if self._adapted.asked is not None:
            return self._adapted.asked
        from fewshot.classifier.calibration import held_out_logits

        return held_out_logits(self._adapted)

    def _check_labelled(self, what: str) -> None:
        if len(self._adapted.episode) > 1:
            raise ValueError(f"{what} is of one class per row; with multi_label=True look at each class's probability.")
        if self._adapted.asked is None and not bool((self._adapted.episode.labels >= 0).any()):
            raise ValueError(
                f"{what} needs labelled rows, and class names alone were fitted; fit examples, or give some to "
                "calibrate(X, y)."
            )

    def _answer(self, rows: np.ndarray) -> Iterator[Tensor]:
        raise NotImplementedError

    def _rows_to_ask(self, X: Any) -> np.ndarray:
        raise NotImplementedError


def _not_empty(sets: Tensor, likely: Tensor) -> np.ndarray:
    """A row that is like no class still has a likeliest one."""
    best = torch.zeros_like(sets).scatter(-1, likely.argmax(-1, keepdim=True), True)
    found: np.ndarray = (sets | best).numpy()
    return found

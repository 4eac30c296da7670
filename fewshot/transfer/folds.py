"""Folds of the user's own rows, and what a candidate answers on each, stored like any other result."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.identity import UnknownIdentityError
from episodes.result import Result
from episodes.results_file import ResultsFile
from fewshot.transfer.candidate import Candidate, Setting

_MOST_FOLDS, _MOST_TESTED = 5, 200


class Folds:
    """Stratified folds of labelled rows: every candidate learns from, and answers, the same.

    Each class is shuffled and dealt out in turn. With `size`, only so many rows of each class are learned from: a small
    episode. Of a large fold 200 rows are asked about, spread evenly over the classes.

    Args:
        source: labelled rows, a `Source` with `select`.
        folds: how many at most; None: 5. There are no more than the smallest class has rows.
        seed: of the shuffling.

    Attributes:
        count: number of folds.
        largest: rows of the largest class that a fold learns from: the size that is all of them.
        notes: what so few rows do not allow, in words.

    Raises:
        ValueError: fewer than two classes, a class with fewer than two rows, or folds below 2.
    """

    def __init__(self, source: Any, folds: int | None = None, seed: int = 0) -> None:
        labels = source.labels
        counts = torch.bincount(labels, minlength=len(source.class_names))
        if folds is not None and folds < 2:
            raise ValueError(f"folds={folds}; there must be at least 2, or None.")
        if len(counts) < 2:
            raise ValueError(f"{source.name!r} has {len(counts)} class; advice needs at least two (give labels).")
        few = [(source.class_names[c], n) for c, n in enumerate(counts.tolist()) if n < 2]
        if few:
            raise ValueError(
                f"{source.name!r} has {few[0][1]} row{'' if few[0][1] == 1 else 's'} of class {few[0][0]!r}"
                f"{f' (and {len(few) - 1} more such classes)' if len(few) > 1 else ''}; nothing can be held out of a "
                "class with fewer than two. Add rows of it, or leave the class out."
            )
        self.source, self.seed = source, seed
        least = int(counts.min())
        self.count = min(folds or _MOST_FOLDS, least)
        self.notes = []
        if self.count < (folds or _MOST_FOLDS):
            self.notes.append(
                f"the smallest class has {least} rows, so there are {self.count} folds instead of "
                f"{folds or _MOST_FOLDS}, and each learns from {100 * (self.count - 1) // self.count} % of the rows"
            )
        order = np.random.Generator(np.random.Philox(key=[seed, 0x666F6C64])).permutation(len(labels))
        numbers = labels.numpy()[order]
        grouped = np.argsort(numbers, kind="stable")
        first = np.concatenate([[0], np.cumsum(counts.numpy())[:-1]])
        rank = np.empty(len(labels), np.int64)
        rank[order[grouped]] = np.arange(len(labels)) - first[numbers[grouped]]
        self._rank = torch.from_numpy(rank)  # of each row within its class
        self.largest = int(counts.max()) - int(counts.max()) // self.count
        self._fingerprint = source.fingerprint()

    def rows(self, fold: int, size: int) -> tuple[Tensor, Tensor]:
        """Rows to learn from ``[S]``, at most `size` of each class, and rows to answer ``[Q]``."""
        held = self._rank % self.count == fold
        place = self._rank - (self._rank - fold + self.count - 1) // self.count  # within those not held out
        train = (~held & (place < size)).nonzero().squeeze(1)
        test = held.nonzero().squeeze(1)
        if len(test) > _MOST_TESTED:
            test = test[self._rank[test].argsort(stable=True)[:_MOST_TESTED]].sort().values
        return train, test

    def evaluation(self, size: int, fold: int | None = None) -> dict[str, Any]:
        """What scores depend on besides the candidate, as `episodes.Result` has it; of all folds without a number."""
        found = {
            "dataset": {"name": self.source.name, "fingerprint": self._fingerprint}, "sampler": "folds",
            "way": len(self.source.class_names), "shot": size, "seed": self.seed, "folds": self.count,
        }  # fmt: skip
        return found if fold is None else {**found, "fold": fold}


class Store:
    """Results of folds: in memory, and in a file where one is given.

    Args:
        folds: of the rows.
        how: device, cache, epochs and seed.
        out: a JSON Lines file; what is in it is not computed again.
    """

    def __init__(self, folds: Folds, how: Setting, out: str | os.PathLike[str] | None = None) -> None:
        self.folds, self.how = folds, how
        self._file = None if out is None else ResultsFile(out)

    def known(self, candidate: Candidate, size: int, fold: int) -> Result | None:
        """The result in the file, if it is there."""
        if self._file is None:
            return None
        try:
            recipe = self._recipe(candidate, size, fold)
        except (UnknownIdentityError, TypeError) as error:
            raise ValueError(f"{candidate.name!r} cannot be stored: {error} Leave out=.") from None
        return self._file.finished(Result(candidate.name, recipe, np.zeros(1)).key)

    def run(self, candidate: Candidate, size: int, fold: int) -> Result:
        """Learn and answer one fold; scores are 1 or 0 for each row ``[Q]``."""
        known = self.known(candidate, size, fold)
        if known is not None:
            return known
        source = self.folds.source
        train, test = self.folds.rows(fold, size)
        began = time.perf_counter()
        answers = candidate.answers(source, train, test, self.how)
        seconds = time.perf_counter() - began
        right = (answers == source.labels[test]).double().numpy()
        if self._file is None:
            recipe = {"learner": {"spec": candidate.name}, "evaluation": self.folds.evaluation(size, fold)}
            return Result(candidate.name, recipe, right, 1, seconds)
        return self._file.append(Result(candidate.name, self._recipe(candidate, size, fold), right, 1, seconds))

    def joined(self, candidate: Candidate, size: int, parts: Sequence[Result]) -> Result:
        """The rows of the first folds together, so that candidates are compared row by row."""
        recipe = {"learner": {"spec": candidate.name}, "evaluation": self.folds.evaluation(size)}
        scores = np.concatenate([part.scores for part in parts])
        return Result(candidate.name, recipe, scores, 1, sum(part.seconds for part in parts))

    def _recipe(self, candidate: Candidate, size: int, fold: int) -> dict[str, Any]:
        learner = {"spec": candidate.name, "identity": candidate.identity(), "epochs": self.how.epochs,
                   "seed": self.how.seed}  # fmt: skip
        return {"learner": learner, "evaluation": self.folds.evaluation(size, fold)}

"""The classes of a zero-shot task: labels, and the words that name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fewshot.classifier.labels import as_labels, is_named


def classes_and_words(
    answers: np.ndarray | None, names: Any, *, keep_order: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Classes, sorted, and the words for each.

    Args:
        answers: labels of examples, or None without any.
        names: of all classes: a mapping label -> words; a list of names, which are the labels, too, unless those are
            numbers: then number i is called ``names[i]``; None: the classes are the labels found.
        keep_order: leave the classes in the order of `names`.

    Raises:
        ValueError: `names` is a single string, or lacks a label.

    >>> classes_and_words(np.array([1, 0]), ["owl", "crow"])
    (array([0, 1]), ['owl', 'crow'])
    >>> classes_and_words(None, ["owl", "crow"])
    (array(['crow', 'owl'], dtype='<U4'), ['crow', 'owl'])
    """
    if isinstance(names, str | bytes):
        raise ValueError(f"the class names are the single string {names!r}; give a list of them, such as [{names!r}].")
    if names is None:
        if answers is None:
            raise ValueError("there are no class names; fit(None, class_names) takes a list of them.")
        classes = np.unique(answers)
        return classes, [str(label) for label in classes.tolist()]
    if isinstance(names, Mapping):
        labels, words = as_labels(list(names)), [str(word) for word in names.values()]
    else:
        labels = as_labels(names if isinstance(names, np.ndarray) else list(names))
        words = [str(label) for label in labels.tolist()]
        if answers is not None and len(labels) and is_named(labels) and not is_named(answers):
            labels = np.arange(len(words), dtype=answers.dtype if answers.dtype.kind in "iuf" else np.int64)
    if answers is not None:
        stray = [label for label in dict.fromkeys(answers.tolist()) if label not in set(labels.tolist())]
        if stray:
            raise ValueError(f"y contains {stray[0]!r}, which is none of the classes {labels[:8].tolist()}.")
    order = np.arange(len(labels)) if keep_order else np.argsort(labels, kind="stable")
    return labels[order], [words[place] for place in order]


def places_of(answers: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The number of the class of each label ``[n]``."""
    place = {label: number for number, label in enumerate(classes.tolist())}
    return np.array([place[label] for label in answers.tolist()], dtype=np.int64)

"""What the cells of a suite run on: rows as they are, their features, words for the classes, fitted learners."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from episodes import load_dataset
from episodes.datasets import DATASETS
from episodes.datasets.files import data_root
from fewshot.embedding import embed
from fewshot.encoders import load_encoder
from fewshot.learners import load_learner
from fewshot.meta import load_weights
from fewshot.prompts import Prompts
from fewshot.registry import argument_names
from fewshot.suites.suite import Dataset


class GroupRows:
    """The rows of a dataset and their features by one encoder, which is loaded and run once.

    Args:
        dataset: of a suite.
        encoder: spec string; ``""`` takes the rows as they are.
        root: the folder of all datasets.
        download: fetch what is missing.
        cache: of embeddings.
        device: of encoder and features.

    Attributes:
        labelled: rows whose labels samplers are made from: the features where there are some.
    """

    def __init__(
        self, dataset: Dataset, encoder: str, root: str | os.PathLike[str] | None, download: bool, cache: Any,
        device: str,
    ) -> None:  # fmt: skip
        self.dataset, self.root, self.download = dataset, str(data_root(root)), download
        self.options = {"cache": cache, "device": device}
        self.encoder = load_encoder(encoder) if encoder else None
        self.given = self._load(dataset.data)
        self.base = self._load(dataset.base) if dataset.base else None
        wanted = {getattr(load_learner(spec), "inputs", "features") for spec in _known(dataset.learners)}
        self.labelled = self.given if wanted == {"images"} else self._embedded(self.given)

    def rows(self, learner: Any) -> Any:
        """What a learner takes."""
        return self.given if getattr(learner, "inputs", "features") == "images" else self.labelled

    def text(self, learner: Any) -> Any:
        """Class text ``[C, D]`` where a learner uses it."""
        if "text" not in getattr(learner, "needs", ()):
            return None
        if self.encoder is None:
            raise ValueError("learners with class text need an encoder that reads texts; add one to encoders.")
        words = list(self.dataset.templates) or None
        prompts = Prompts(self.given.class_names, words, task=self.dataset.task or None)
        return prompts.encode(self.encoder, **self.options)

    def learner(self, spec: str) -> Any:
        """A learner, fitted to base data or with trained weights where the suite says so."""
        made: Any = load_learner(spec)
        if self.base is not None and callable(getattr(made, "fit", None)):
            made.fit(self._embedded(self.base))
        file = dict(self.dataset.weights).get(spec)
        return made if file is None else load_weights(made, file)

    def _embedded(self, source: Any) -> Any:
        return source if self.encoder is None else embed(source, self.encoder, progress=False, **self.options)

    def _load(self, spec: str) -> Any:
        name = spec.partition(":")[0].partition("(")[0]
        takes = argument_names(DATASETS.get(name)) if name in DATASETS.names() else ()
        options: dict[str, Any] = {"root": self.root} if "root" in takes and name != "csv" else {}
        if self.download and "download" in takes:
            options["download"] = True
        return load_dataset(spec.replace("{root}", self.root), **options)


def _known(learners: Sequence[str]) -> Iterator[str]:
    """Those that can be made; the others are reported where they are needed."""
    for spec in learners:
        try:
            load_learner(spec)
        except (ValueError, ImportError):
            continue
        yield spec

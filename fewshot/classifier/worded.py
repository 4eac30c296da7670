"""Class names, prompts and task description as the class text that learners see, and rows in the same space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from torch import Tensor
from torch.nn.functional import normalize

from episodes.precision import is_sparse, refuse_unusual
from fewshot.classifier.adapted import on_device
from fewshot.classifier.answering import AnsweringEstimator
from fewshot.classifier.features import are_features
from fewshot.classifier.labels import as_labels
from fewshot.classifier.none_of_these import encode_anything
from fewshot.classifier.rows import as_items, embed_items, refuse_missing, seen_as
from fewshot.classifier.sentences import Sentence
from fewshot.learner import Learner
from fewshot.learners.zero_shot import ZeroShot
from fewshot.prompts.entailment import sentence_scores, sentences_of, weights_of
from fewshot.prompts.prompts import Line, Prompts, encode_strings
from fewshot.prompts.unlabelled import class_weights, zero_shot_weights

WEIGHTINGS = ("task", "zpe", "class-aware")
_CLIP_SCALE = 100.0  # what learners assume where no model says its own


class WordedEstimator(AnsweringEstimator):
    """An estimator whose classes have words, encoded once in `fit`."""

    task: str | None
    templates: Any
    descriptions: Any
    weighting: str
    multi_label: bool
    none: Any

    _seen: str | None = None  # the kind of the examples, where there are any
    encoder_: Any
    learner_: Learner
    words_: list[str]
    prompts_: Prompts
    lines_: list[Line]
    text_: Tensor

    @property
    def _embedding(self) -> dict[str, Any]:
        return {"cache": self.cache, "device": self.device}

    def _own_learner(self) -> Learner:
        learner: Learner
        if self.encoder_.pairs:
            learner = ZeroShot(scale=1.0, similarity="product")
            if str(self.learner) not in ("zero-shot", repr(learner)) or self.weighting != "task" or self.none:
                raise ValueError(
                    f"{self.encoder_.name!r} scores pairs of a text and a sentence, and has no features: leave "
                    "learner, weighting and none out."
                )
            return learner
        learner = super()._own_learner()
        if "text" not in learner.needs:
            raise ValueError(
                f"{learner!r} does not use class text; take one that does, such as 'zero-shot', 'proker' or "
                "'tip-adapter', or FewShotClassifier."
            )
        scale = getattr(self.encoder_, "logit_scale", None)
        unsaid = isinstance(self.learner, str) and "scale=" not in self.learner
        if unsaid and scale is not None and getattr(learner, "scale", None) == _CLIP_SCALE:
            learner.scale = scale
        return learner

    def _scale(self) -> float:
        return float(getattr(self.encoder_, "logit_scale", None) or _CLIP_SCALE)

    def _read_words(self, unlabelled: Any) -> Tensor:
        """Set `lines_` and `text_`; the class text for the learner ``[C, D]``, or ``[C, T, D]`` where it combines."""
        self.lines_ = self.prompts_.lines(self.encoder_, **self._embedding)
        if self.encoder_.pairs:
            self.text_ = weights_of(self.lines_, len(self.prompts_))  # [C, L]
            return self.text_
        if self.weighting != "task":
            self.lines_ = self._reweighed(unlabelled)
        self.text_ = self.prompts_.encode(self.encoder_, lines=self.lines_, **self._embedding)  # [C, D]
        if getattr(self.learner_, "combine", "vectors") == "vectors":
            return self.text_
        return self.prompts_.encode_each(self.encoder_, **self._embedding)[0]

    def _reweighed(self, unlabelled: Any) -> list[Line]:
        if unlabelled is None:
            raise ValueError(f"weighting={self.weighting!r} looks at unlabelled rows; give fit(..., unlabelled=rows).")
        each, templates = self.prompts_.encode_each(self.encoder_, **self._embedding)  # [C, T, D]
        rows = self.features(unlabelled).float()
        if self.weighting == "zpe":
            weights = zero_shot_weights(rows, each, self._scale()).expand(len(each), -1)
        else:
            weights = class_weights(rows, each, self._scale())
        known = {(line.label, line.text): line.weight for line in self.lines_}
        lines = []
        for label, name in enumerate(self.prompts_.class_names):
            texts = [template.replace("{label}", name) for template in templates]
            values = [float(w) * known[label, text] for w, text in zip(weights[label], texts, strict=True)]
            lines += [Line(text, label, value / sum(values)) for text, value in zip(texts, values, strict=True)]
        return lines

    def _nothing(self) -> Tensor:
        """Unit vector of words that name nothing in particular ``[D]``."""
        if self.encoder_.pairs:
            return torch.zeros(self.text_.shape[1])  # contradiction is what stands against a class
        return normalize(encode_anything(True, self.encoder_, **self._embedding).mean(0), dim=-1)

    def _make_prompts(self, words: list[str]) -> None:
        self.words_ = words
        self.prompts_ = Prompts(words, self.templates, descriptions=self.descriptions, task=self.task)

    def features(self, X: Any) -> Tensor:
        """Rows as the encoder sees them ``[n, D]``, each embedded once; all methods take them instead of `X`.

        Raises:
            ValueError: features that are not finite, or of another width than the encoder's.
        """
        if not hasattr(self, "encoder_"):
            check_is_fitted(self, "_adapted")
        return on_device(self._read(X), torch.device("cpu"))

    def _read_examples(self, X: Any, y: Any) -> Tensor:
        if self.learner_.needs == ("text",):
            raise ValueError(
                f"{self.learner_!r} does not look at examples; name a learner that does, such as learner='proker' or "
                "'tip-adapter', or give class names alone: fit(None, class_names)."
            )
        rows = self._read(X, y, reset=True)
        check_consistent_length(rows, y)
        return on_device(rows, torch.device("cpu"))

    def _read(self, X: Any, y: Any = None, *, reset: bool = False) -> np.ndarray:
        """X as rows ``[n, D]``."""
        if isinstance(X, Tensor) or is_sparse(X):
            refuse_unusual(X, "X")
        if isinstance(X, Tensor):
            X = X.detach().cpu()
            X = (X.float() if X.dtype in (torch.float16, torch.bfloat16) else X).numpy()
        if not are_features(X):
            items = as_items(X, self.encoder_, None if reset else self._seen)
            self._seen = seen_as(items) if reset else self._seen
            if not reset:
                self._check_encoder(len(items))
            if self.encoder_.pairs:
                return self._pair_scores(items)
            labels = None if y is None or self.multi_label else as_labels(y).tolist()
            rows = embed_items(items, self.encoder_, self.cache, self.device, asked=not reset, labels=labels)
            return rows.astype(np.float32)
        refuse_missing(X)
        rows = validate_data(self, X, dtype=[np.float64, np.float32], reset=reset)
        width = self.text_.shape[1] if hasattr(self, "_adapted") else self.encoder_.dim
        if width is not None and rows.shape[1] != width:
            raise ValueError(f"X has {rows.shape[1]} features, but {self.encoder_.name!r} gives {width}.")
        return rows

    def _pair_scores(self, items: Any) -> np.ndarray:
        sentences = sentences_of(self.lines_)
        scores = sentence_scores(items.texts, sentences, self.encoder_, apart=self.multi_label, **self._embedding)
        return scores.numpy()

    def _rows_to_ask(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "_adapted")
        return self._read(X)

    def _sentences_of(self, rows: np.ndarray, answers: list[int], count: int) -> list[tuple[Sentence, ...]]:
        """The heaviest sentences of the class that each row is answered by, and how well they fit."""
        texts, units = sentences_of(self.lines_), on_device(rows, torch.device("cpu")).float()
        if self.encoder_.pairs:
            vectors = torch.eye(len(texts))  # rows are the scores of the sentences
        else:
            units = normalize(units, dim=-1)
            vectors = normalize(encode_strings(texts, self.encoder_, **self._embedding), dim=-1)
        scores = units @ vectors.T  # [n, L]
        place = {text: number for number, text in enumerate(texts)}
        lines = sorted(self.lines_, key=lambda line: -line.weight)
        heaviest = {best: [line for line in lines if line.label == best][:count] for best in set(answers)}
        return [
            tuple(Sentence(line.text, line.weight, float(score[place[line.text]])) for line in heaviest[best])
            for best, score in zip(answers, scores, strict=True)
        ]

    def _saved_words(self) -> dict[str, Any]:
        prompts = self.prompts_
        described = zip(self.words_, prompts.descriptions or [], strict=prompts.descriptions is not None)
        return {
            "words": self.words_,
            "lines": [list(line) for line in self.lines_],
            "templates": prompts.templates,
            "descriptions": {word: own for word, own in described if own} or None,
        }

    def _restore_words(self, saved: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self._make_prompts([str(word) for word in saved["words"]])
        self.lines_ = [Line(str(text), int(label), float(weight)) for text, label, weight in saved["lines"]]
        self.text_ = tensors["text"]


def as_tensors(values: Mapping[str, np.ndarray | Tensor | None]) -> dict[str, Tensor]:
    """Those that are there, ready to be written."""
    return {name: torch.as_tensor(value).contiguous().cpu() for name, value in values.items() if value is not None}

"""`ZeroShotClassifier`: classes named in words, as a scikit-learn estimator."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from torch import Tensor
from torch.nn.functional import normalize

from episodes.episode import Episode
from episodes.labels import name_list
from fewshot.classifier.labels import as_labels, reject_label
from fewshot.classifier.rows import as_items, embed_items, feature_rows, kind_of_rows
from fewshot.learner import Learner
from fewshot.learners import load_learner
from fewshot.prompts.prompts import Line, Prompts, encode_strings
from fewshot.prompts.unlabelled import class_weights, without_label_bias, zero_shot_weights

WEIGHTINGS = ("task", "zpe", "class-aware")
_CHUNK = 4096


@dataclass(frozen=True)
class Sentence:
    """A prompt of the class that was answered.

    Attributes:
        text: the very string that was encoded.
        weight: its share in the class vector, 0..1.
        score: its cosine with the row.
    """

    text: str
    weight: float
    score: float


@dataclass(frozen=True)
class ZeroShotExplanation:
    """One prediction and the sentences that speak for it, heaviest first."""

    label: str
    probability: float
    runner_up: str | None
    margin: float
    rejected: bool
    sentences: tuple[Sentence, ...]

    def __str__(self) -> str:
        lines = [f"{self.label} {100 * self.probability:.1f} %{' (rejected)' if self.rejected else ''}"]
        if self.runner_up is not None:
            lines[0] += f", before {self.runner_up} {100 * (self.probability - self.margin):.1f} %"
        return "\n".join([*lines, *(f"  {100 * s.weight:4.1f} %  {s.score:.3f}  {s.text}" for s in self.sentences)])


class ZeroShotClassifier(ClassifierMixin, BaseEstimator):
    """Classifies images or texts by class names, without a single example; a task description says what they mean.

    ``fit(None, class_names)`` encodes the prompts; `predict` takes image files, PIL images, 8-bit arrays, texts, or
    features of the same model (a float array ``[n, D]``). With examples, ``fit(X, y)``, any learner that uses class
    text adapts to them: ``learner="proker"``. Every item and every sentence is embedded once, ever.

    Args:
        encoder: spec string or encoder with a text tower: ``"open_clip:ViT-B-32/laion2b_s34b_b79k"``,
            ``"text:minilm"``, ``"fewshot:tiny-clip"``.
        task: what the task is, in words: ``"night camera-trap pictures of owls"``. It chooses and weighs templates.
        templates: as in `Prompts`.
        descriptions: of the classes, as in `Prompts`.
        learner: one that needs class text. Named without ``scale=`` it takes the model's; an object keeps its own.
        weighting: how the templates count: ``"task"`` (by the task description; evenly without one); ``"zpe"`` or
            ``"class-aware"``: by the unlabelled rows given to `fit`.
        correct_bias: take out the model's preference among the classes, estimated on the rows of one `predict`
            call, so answers depend on the others.
        multi_label: each class for itself: probabilities are sigmoids, and `predict` gives a 0/1 matrix.
        threshold: of a sigmoid, for `predict` with multi_label.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        cache: of embeddings, as in `fewshot.embed`.
        reject: the least probability of a class that `predict` answers; below it, `reject_label`.
        reject_label: by default ``"unknown"``.

    Attributes:
        classes_: the class names, in the order given ``[C]``.
        text_: unit vector of each class ``[C, D]``.
        prompts_: the `Prompts`.
        lines_: all sentences with class and weight.

    >>> from episodes import load_dataset
    >>> scenes = load_dataset("scenes:shape", count=3)
    >>> classifier = ZeroShotClassifier("fewshot:tiny-clip", cache=False).fit(None, scenes.class_names)
    >>> classifier.predict(list(scenes.features.permute(0, 2, 3, 1).numpy())).tolist()
    ['heart', 'ring', 'heart']
    """

    _seen: str | None = None  # the kind of the examples, where there are any

    def __init__(
        self,
        encoder: Any = "open_clip:ViT-B-32/laion2b_s34b_b79k",
        task: str | None = None,
        *,
        templates: Any = None,
        descriptions: Any = None,
        learner: str | Learner = "zero-shot",
        weighting: str = "task",
        correct_bias: bool = False,
        multi_label: bool = False,
        threshold: float = 0.5,
        device: torch.device | str = "auto",
        cache: Any = None,
        reject: float | None = None,
        reject_label: Any = None,
    ) -> None:
        self.encoder = encoder
        self.task = task
        self.templates = templates
        self.descriptions = descriptions
        self.learner = learner
        self.weighting = weighting
        self.correct_bias = correct_bias
        self.multi_label = multi_label
        self.threshold = threshold
        self.device = device
        self.cache = cache
        self.reject = reject
        self.reject_label = reject_label

    def fit(
        self, X: Any, y: ArrayLike, *, class_names: Sequence[str] | None = None, unlabelled: Any = None
    ) -> ZeroShotClassifier:
        """Encode the classes, and learn from examples where there are any.

        Args:
            X: None, or labelled examples.
            y: without X the class names ``[C]``; with X the label of each example ``[n]``.
            class_names: with X, all classes, if some have no examples; by default those of `y`.
            unlabelled: rows that the weighting of templates looks at.

        Raises:
            ValueError: two classes of one name, an empty name, an unknown learner or encoder, or a parameter out
                of range.
        """
        from fewshot.encoders import load_encoder

        self._check()
        self._seen = None
        given = y if X is None else np.unique(as_labels(y)) if class_names is None else class_names
        names = name_list(given, "class names")
        self.prompts_ = Prompts(names, self.templates, descriptions=self.descriptions, task=self.task)
        self.encoder_ = load_encoder(self.encoder)
        self.learner_ = self._learner()
        embedding = {"cache": self.cache, "device": self.device}
        self.lines_ = self.prompts_.lines(self.encoder_, **embedding)
        if self.weighting != "task":
            self.lines_ = self._reweighed(unlabelled, embedding)
        self.text_ = self.prompts_.encode(self.encoder_, lines=self.lines_, **embedding)  # [C, D]
        self.classes_ = np.array(names, dtype=object)
        text = self.text_
        if getattr(self.learner_, "combine", "vectors") != "vectors":
            text = self.prompts_.encode_each(self.encoder_, **embedding)[0]
        support, labels = self._support(X, y)
        self._episode = Episode(support[None], labels[None], self.text_[None, :1], len(names), text[None])
        if self.reject is not None:
            reject_label(self.reject_label, np.array(names))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most likely class of each row ``[n]``; with multi_label, which classes hold ``[n, C]`` as 0 and 1."""
        chance = self.predict_proba(X)
        if self.multi_label:
            return (chance >= self.threshold).astype(np.int64)
        answers = self.classes_[chance.argmax(1)]
        if self.reject is None:
            return answers
        return np.where(
            chance.max(1) >= self.reject, answers, reject_label(self.reject_label, self.classes_.astype(str))
        )

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities ``[n, C]``: a softmax over the classes, or with multi_label a sigmoid for each.

        A model trained with a sigmoid (SigLIP) brings its bias. One trained with a softmax has none: its sigmoid is
        of how much more the class's words fit than words that name nothing (``a photo of something``).
        """
        rows = self.features(X)
        if self.multi_label:
            cosine = normalize(rows, dim=-1) @ self.text_.T
            bias = getattr(self.encoder_, "logit_bias", None)
            if bias is None:
                cosine, bias = cosine - (normalize(rows, dim=-1) @ self._nothing()).unsqueeze(1), 0.0
            return torch.sigmoid(self._scale() * cosine + bias).numpy()
        return self._logits(rows).softmax(-1).numpy()

    def decision_function(self, X: Any) -> np.ndarray:
        """The learner's logits ``[n, C]``."""
        return self._logits(self.features(X)).numpy()

    def explain(self, X: Any, sentences: int = 5) -> list[ZeroShotExplanation]:
        """Predictions with the exact sentences of the class, their weights, and the cosine of each with the row."""
        rows = self.features(X)
        chance = self._logits(rows).softmax(-1)
        units = normalize(rows, dim=-1)
        texts = list(dict.fromkeys(line.text for line in self.lines_))
        vectors = normalize(encode_strings(texts, self.encoder_, cache=self.cache, device=self.device), dim=-1)
        place = {text: number for number, text in enumerate(texts)}
        found = []
        for row, likely in zip(units, chance, strict=True):
            best, *others = likely.argsort(descending=True).tolist()
            top, second = float(likely[best]), float(likely[others[0]]) if others else 0.0
            own = sorted((line for line in self.lines_ if line.label == best), key=lambda line: -line.weight)
            said = [
                Sentence(line.text, line.weight, float(row @ vectors[place[line.text]])) for line in own[:sentences]
            ]
            found.append(
                ZeroShotExplanation(
                    str(self.classes_[best]), top, str(self.classes_[others[0]]) if others else None, top - second,
                    self.reject is not None and top < self.reject,
                    tuple(said),
                )
            )  # fmt: skip
        return found

    def _check(self) -> None:
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"weighting={self.weighting!r}; it must be one of {', '.join(WEIGHTINGS)}.")
        for name in ("reject", "threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name}={value!r}; it is a probability 0..1.")

    def _learner(self) -> Learner:
        learner = copy.deepcopy(load_learner(self.learner))
        if "text" not in learner.needs:
            raise ValueError(
                f"{learner!r} does not use class text; take one that does, such as 'zero-shot', 'proker' or "
                "'tip-adapter', or FewShotClassifier."
            )
        scale = getattr(self.encoder_, "logit_scale", None)
        unsaid = isinstance(self.learner, str) and "scale=" not in self.learner
        if unsaid and scale is not None and getattr(learner, "scale", None) == 100.0:  # CLIP's: of cosines
            learner.scale = scale
        return learner.eval()

    def _reweighed(self, unlabelled: Any, embedding: dict[str, Any]) -> list[Line]:
        if unlabelled is None:
            raise ValueError(f"weighting={self.weighting!r} looks at unlabelled rows; give fit(..., unlabelled=rows).")
        each, templates = self.prompts_.encode_each(self.encoder_, **embedding)  # [C, T, D]
        rows = self.features(unlabelled)
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

    def _support(self, X: Any, y: Any) -> tuple[Tensor, Tensor]:
        if X is None:
            return torch.zeros(0, self.text_.shape[1]), torch.zeros(0, dtype=torch.int64)
        labels = as_labels(y)
        self._seen = kind_of_rows(X, self.encoder_)
        rows = self.features(X)
        check_consistent_length(rows, labels)
        place = {str(name): number for number, name in enumerate(self.classes_)}
        stray = [label for label in labels if str(label) not in place]
        if stray:
            raise ValueError(f"y contains {str(stray[0])!r}, which is none of the classes {list(place)[:8]}.")
        return rows, torch.tensor([place[str(label)] for label in labels])

    def features(self, X: Any) -> Tensor:
        """Rows as the encoder sees them ``[n, D]``, each embedded once; all methods take them instead of `X`."""
        if not hasattr(self, "encoder_"):
            check_is_fitted(self, "text_")
        rows = feature_rows(X, self.encoder_)
        if rows is None:
            rows = embed_items(as_items(X, self.encoder_, self._seen), self.encoder_, self.cache, self.device)
        return torch.from_numpy(rows).float()

    def _logits(self, rows: Tensor) -> Tensor:
        check_is_fitted(self, "text_")
        self.learner_.check(self._episode)
        with torch.no_grad():
            if self.learner_.transductive:
                logits = self.learner_(self._episode.replace(query=rows[None]))[0]
            else:
                state = self.learner_.adapt(self._episode)
                parts = [self.learner_.predict(state, part[None])[0] for part in rows.split(_CHUNK)]
                logits = torch.cat(parts)
        return without_label_bias(logits) if self.correct_bias else logits

    def _scale(self) -> float:
        return float(getattr(self.encoder_, "logit_scale", None) or 100.0)

    def _nothing(self) -> Tensor:
        """Unit vector of words that name nothing in particular."""
        texts = ["a photo of something", "a picture", "an image", "something"]
        if not self.encoder_.encodes("images"):
            texts = ["This is a text.", "a sentence", "some words", "something"]
        vectors = encode_strings(texts, self.encoder_, cache=self.cache, device=self.device)
        return normalize(normalize(vectors, dim=-1).mean(0), dim=-1)

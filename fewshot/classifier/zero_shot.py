"""`ZeroShotClassifier`: classes named in words, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import Tags
from torch import Tensor

from episodes.episode import Support
from fewshot.classifier.adapted import Adapted, on_device, task
from fewshot.classifier.base import warn_uncalibrated
from fewshot.classifier.calibration import own_temperature
from fewshot.classifier.class_words import classes_and_words, places_of
from fewshot.classifier.explanation import verdicts
from fewshot.classifier.labels import as_labels, reject_label
from fewshot.classifier.multi_label import as_indicators, known_labels, margins, one_against_nothing
from fewshot.classifier.none_of_these import UNKNOWN_FIT, encode_anything, fit_of, least_fit
from fewshot.classifier.sentences import ZeroShotExplanation
from fewshot.classifier.worded import WEIGHTINGS, WordedEstimator, as_tensors
from fewshot.learner import Learner
from fewshot.prompts.unlabelled import without_label_bias

if TYPE_CHECKING:
    from typing_extensions import Self


class ZeroShotClassifier(WordedEstimator):
    """Classifies images or texts by class names, without a single example; a task description says what they mean.

    ``fit(None, class_names)`` encodes the prompts; `predict` takes image files, PIL images, 8-bit arrays, texts, or
    features of the same model (an array of numbers ``[n, D]``). With examples, ``fit(X, y)``, any learner that uses
    class text adapts to them: ``learner="proker"``. Every item and every sentence is embedded once, ever.

    Args:
        encoder: spec string or encoder with a text tower: ``"open_clip:ViT-B-32/laion2b_s34b_b79k"``,
            ``"text:minilm"``, ``"fewshot:tiny-clip"``; or a model of entailment, ``"nli:NAME"``, which reads each text
            together with a sentence for each class.
        task: what the task is, in words: ``"night camera-trap pictures of owls"``. It chooses and weighs templates.
        templates: as in `Prompts`.
        descriptions: of the classes, as in `Prompts`.
        learner: one that needs class text. Named without ``scale=`` it takes the model's; an object keeps its own.
        weighting: how the templates count: ``"task"`` (by the task description; evenly without one); ``"zpe"`` or
            ``"class-aware"``: by the unlabelled rows given to `fit`.
        correct_bias: take out the model's preference among the classes, estimated on the rows of one `predict`
            call, so answers depend on the others.
        multi_label: each class for itself, against words that name nothing (``a photo of something``): probabilities
            are sigmoids, and `predict` gives a 0/1 matrix. Examples may have several labels, as such a matrix.
        threshold: of a sigmoid, for `predict` with multi_label.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        cache: of embeddings, as in `fewshot.embed`.
        batch_size: rows per step of `predict`; ``"auto"`` bounds a step to about 64 MB.
        calibrated: with examples, `fit` also sets the temperature of probabilities by holding some out. Without any
            they have the encoder's own scale.
        reject: the least probability of a class that `predict` answers; below it, `reject_label` (with multi_label, a
            row without classes).
        reject_label: None is -1 where classes are numbers, ``"unknown"`` where they are names.
        none: answers `reject_label` for what fits words for anything about as well as the best class, however probable
            that is among the classes: True for such words, or sentences of one's own (``"a blank page"``). Give
            `fit` typical rows as well (examples, or ``unlabelled=``): what fits less well than 98 % of them do is
            then refused. Words alone find little: a model may think noise like a colour.

    Attributes:
        classes_: distinct labels, sorted (with multi_label in the order given) ``[C]``.
        words_: what names each class in the prompts.
        text_: unit vector of each class ``[C, D]``.
        prompts_: the `Prompts`.
        lines_: all sentences with class and weight.
        temperature_: what logits are divided by in `predict_proba`.
        learner_: the learner used (a copy), with the model's scale.
        encoder_: the encoder used.
        none_: unit vectors of the words for anything, or None.
        least_fit_: the least cosine with the best class, and by how much it must fit better than those words.

    >>> from episodes import load_dataset
    >>> scenes = load_dataset("scenes:shape", count=3)
    >>> classifier = ZeroShotClassifier("fewshot:tiny-clip", cache=False).fit(None, scenes.class_names)
    >>> classifier.predict(list(scenes.features.permute(0, 2, 3, 1).numpy())).tolist()
    ['heart', 'ring', 'heart']
    """

    saved_parameters: ClassVar[tuple[str, ...]] = (
        "task", "weighting", "correct_bias", "multi_label", "threshold", "calibrated", "reject", "reject_label", "none",
        "templates", "descriptions",
    )  # fmt: skip

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
        batch_size: int | str = "auto",
        calibrated: bool = True,
        reject: float | None = None,
        reject_label: Any = None,
        none: Any = None,
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
        self.batch_size = batch_size
        self.calibrated = calibrated
        self.reject = reject
        self.reject_label = reject_label
        self.none = none

    def fit(self, X: Any, y: Any, *, class_names: Any = None, unlabelled: Any = None) -> Self:
        """Encode the classes, and learn from examples where there are any.

        Args:
            X: None, or labelled examples.
            y: without X the class names ``[C]``, or a mapping label -> words; with X the label of each example
                ``[n]``: names, or numbers (with multi_label also a 0/1 matrix ``[n, C]``).
            class_names: with X, all classes, if some have no examples; or what numbers are called: ``["owl", "crow"]``
                for labels 0 and 1, or a mapping label -> words. By default the labels name themselves.
            unlabelled: typical rows, which the weighting of templates and `none` look at.

        Raises:
            ValueError: two classes of one name, an empty name, an unknown learner or encoder, a parameter out of
                range, or examples for a learner that does not look at them.
        """
        with self._or_as_before():
            for name in ("_adapted", "n_features_in_", "feature_names_in_"):
                self.__dict__.pop(name, None)
            return self._fit(X, y, class_names, unlabelled)

    def _fit(self, X: Any, y: Any, class_names: Any, unlabelled: Any) -> Self:
        self._check()
        self._seen = None
        answers = indicators = None
        if X is None:
            classes, words = classes_and_words(None, y, keep_order=self.multi_label)
        else:
            if y is None:
                raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
            indicators = as_indicators(y) if self.multi_label else None
            answers = np.arange(indicators.shape[1]) if indicators is not None else as_labels(y)
            keep_order = indicators is not None or (self.multi_label and class_names is not None)
            classes, words = classes_and_words(answers, class_names, keep_order=keep_order)
            if indicators is not None and len(classes) != indicators.shape[1]:
                raise ValueError(f"y has {indicators.shape[1]} columns, but there are {len(classes)} class names.")
        self._make_prompts(words)
        if self.reject is not None or self.none is not None:
            reject_label(self.reject_label, classes)
        self.encoder_ = self._own_encoder()
        self.learner_ = self._own_learner()
        rows = None if X is None else self._read_examples(X, y)
        text = self._read_words(unlabelled)
        if rows is not None and rows.shape[1] != self.text_.shape[1]:
            raise ValueError(f"X has {rows.shape[1]} features, but {self.encoder_.name!r} gives {self.text_.shape[1]}.")
        places = None if answers is None or indicators is not None else places_of(answers, classes)
        self.classes_ = classes
        support = torch.zeros(0, text.shape[-1]) if rows is None else rows
        if self.multi_label:
            labels = known_labels(indicators, places, len(classes))  # [C, S]
        else:
            labels = torch.from_numpy(np.zeros(0, np.int64) if places is None else places)  # [S]
        self._learn(support, labels, text, self._nothing() if self.multi_label else None)
        self.temperature_ = self._own_temperature() if self.calibrated else 1.0
        self._look_at_typical(rows, unlabelled)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most likely class of each row ``[n]``; with multi_label, which classes hold ``[n, C]`` as 0 and 1."""
        if not self.multi_label:
            return super().predict(X)
        rows = self._rows_to_ask(X)
        chance = torch.cat([logits.sigmoid() for logits in self._answer(rows)]).numpy()
        holds, refused = chance >= self.threshold, self._refused(rows, chance)  # [n, C], [n]
        return (holds if refused is None else holds & ~refused[:, None]).astype(np.int64)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities ``[n, C]``: a softmax over the classes, or with multi_label a sigmoid for each.

        Without examples they have the encoder's own scale, with examples that of `calibrate`. With multi_label, a model
        trained with a sigmoid (SigLIP) brings its bias. One trained with a softmax has none: its sigmoid is of how
        much more the class's words fit than words that name nothing.
        """
        if not self.multi_label:
            return super().predict_proba(X)
        return torch.cat([logits.sigmoid() for logits in self._answer(self._rows_to_ask(X))]).numpy()

    def decision_function(self, X: Any) -> np.ndarray:
        """The learner's logits ``[n, C]``, or second minus first ``[n]``; of the sigmoids with multi_label."""
        if not self.multi_label:
            return super().decision_function(X)
        return torch.cat(list(self._answer(self._rows_to_ask(X)))).numpy()

    def calibrate(self, X: Any = None, y: ArrayLike | None = None) -> Self:
        """Set `temperature_` so that `predict_proba` fits how often predictions are right.

        Args:
            X: labelled rows that were not fitted; by default fitted examples are held out, as `fit` does.
            y: their labels.

        Raises:
            ValueError: there are no fitted examples and no X, or classes are each for themselves.
        """
        if self.multi_label:
            raise ValueError("calibrate is of one class per row; with multi_label=True choose a threshold instead.")
        if X is None and y is None and hasattr(self, "_adapted") and not self._adapted.episode.labels.numel():
            raise ValueError("no examples were fitted, so none can be held out; give X and y.")
        return super().calibrate(X, y)

    def explain(self, X: Any, sentences: int = 5) -> list[ZeroShotExplanation]:
        """Predictions with the exact sentences of the class, their weights, and the cosine of each with the row.

        With a model of entailment (``nli:NAME``) it is the logit of entailment instead.
        """
        rows = self._rows_to_ask(X)
        squash = torch.sigmoid if self.multi_label else self._softmax
        chance = torch.cat([squash(logits) for logits in self._answer(rows)])
        said = verdicts(chance.numpy(), self.classes_, self._refused(rows, chance.numpy()))
        spoken = self._sentences_of(rows, chance.argmax(1).tolist(), sentences)
        return [ZeroShotExplanation(*verdict, sentences=own) for verdict, own in zip(said, spoken, strict=True)]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True  # features of the same model, besides items
        return tags

    def _check(self) -> None:
        super()._check()
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"weighting={self.weighting!r}; it must be one of {', '.join(WEIGHTINGS)}.")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold!r}; it is a probability 0..1.")
        if self.multi_label and self.correct_bias:
            raise ValueError("correct_bias is of one class per row; leave it out, or multi_label.")
        warn_uncalibrated(None if self.learner == "zero-shot" else self.reject, self.calibrated or self.multi_label)

    def _learn(self, support: Tensor, labels: Tensor, text: Tensor, nothing: Tensor | None) -> None:
        """Adapt to examples ``[S, D]`` with labels ``[S]``, or ``[C, S]`` where each class is a task of its own."""
        device = self._chosen_device()
        if nothing is not None:
            episode: Support = one_against_nothing(support.to(device), labels, text, nothing)
        else:
            episode = task(support, labels, len(text), device, text=text)
        self._class_text, self._nothing_text = text, nothing
        self._adapted = Adapted(self.learner_, episode)
        self._note_encoder()

    def _own_temperature(self) -> float:
        if self.multi_label or not self._adapted.episode.labels.numel():
            return 1.0  # the scale is the encoder's own
        return own_temperature(self._adapted, otherwise=1.0)

    def _known_classes(self) -> np.ndarray:
        return np.arange(len(self.classes_))  # all have words

    def _answer(self, rows: np.ndarray) -> Iterator[Tensor]:
        if self.multi_label:
            bias = getattr(self.encoder_, "logit_bias", None) if self.learner_.needs == ("text",) else None
            for logits in super()._answer(rows):
                logits = logits.reshape(-1, len(self.classes_), 2)
                yield margins(logits) if bias is None else logits[..., 1] + bias
        elif self.correct_bias:
            yield without_label_bias(torch.cat(list(super()._answer(rows))))
        else:
            yield from super()._answer(rows)

    def _look_at_typical(self, rows: Tensor | None, unlabelled: Any) -> None:
        self.none_, self.least_fit_ = None, UNKNOWN_FIT
        if self.none is None or self.none is False:
            return
        self.none_ = encode_anything(self.none, self.encoder_, **self._embedding)
        typical = [rows] if rows is not None else []
        typical += [self.features(unlabelled)] if unlabelled is not None else []
        if typical:
            self.least_fit_ = least_fit(torch.cat([fit_of(part.float(), self.text_, self.none_) for part in typical]))

    def _none_of_these(self, rows: np.ndarray) -> np.ndarray | None:
        if self.none_ is None:
            return None
        found = fit_of(on_device(rows, torch.device("cpu")).float(), self.text_, self.none_)  # [n, 2]
        return (found < torch.tensor(self.least_fit_)).any(1).numpy()

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        support = self._adapted.episode.support[0]
        labels = self._adapted.episode.labels
        tensors = as_tensors({
            "support": support, "labels": labels if self.multi_label else labels[0], "text": self.text_,
            "class_text": None if self._class_text is self.text_ else self._class_text,
            "nothing": self._nothing_text, "none": self.none_,
        })  # fmt: skip
        return {**self._saved_words(), "least_fit": list(self.least_fit_)}, tensors

    def _restore(
        self, tensors: Mapping[str, Tensor], classes: np.ndarray, temperature: float, columns: list[str], more: Any
    ) -> Self:
        self._check()
        self.encoder_ = self._own_encoder()
        self.learner_ = self._own_learner()
        self._restore_words(more, tensors)
        self.classes_, self.temperature_ = classes, temperature
        self._learn(
            tensors["support"], tensors["labels"], tensors.get("class_text", tensors["text"]), tensors.get("nothing")
        )
        self.none_ = tensors.get("none")
        best, better = more["least_fit"]
        self.least_fit_ = (float(best), float(better))
        if len(tensors["support"]):
            self.n_features_in_ = tensors["support"].shape[1]
        if columns:
            self.feature_names_in_ = np.array(columns, dtype=object)
        return self

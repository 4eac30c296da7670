"""What `fewshot app` does, without a page: classes, examples, answers, corrections, a classifier to take away."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from episodes.pictures import to_rgb, upright
from fewshot.classifier import FewShotClassifier, ZeroShotClassifier
from fewshot.classifier.explanation import nearest
from fewshot.encoders import Encoder, load_encoder


@dataclass(frozen=True)
class Answer:
    """What is said about one picture.

    Attributes:
        label: the most probable class.
        probabilities: of all classes, the most probable first.
        likely: the classes among which the true one is as often as was asked for; None where there are no examples.
        alike: the most similar examples with their class and cosine, the nearest first.
    """

    label: str
    probabilities: dict[str, float]
    likely: list[str] | None
    alike: list[tuple[Image.Image, str, float]]


class Session:
    """Examples and names that are gathered, and the classifier that is learned from them.

    With examples of every class it is a `FewShotClassifier`; with names alone a `ZeroShotClassifier`; with names and a
    few examples one that uses both.

    Args:
        encoder: spec string or `Encoder`.
        learner: of examples alone.
        both: learner of names and examples together.
        coverage: how often `Answer.likely` is to hold the true class.
        cache: of embeddings, as in `fewshot.embed`.
        device: of the encoder.
    """

    def __init__(
        self, encoder: str | Encoder = "fewshot:tiny-clip", learner: str = "l2 | logistic", *, both: str = "proker",
        coverage: float = 0.9, cache: Any = None, device: str = "auto",
    ) -> None:  # fmt: skip
        self.encoder = load_encoder(encoder)
        self.spec = encoder
        self.learner, self.both, self.coverage = learner, both, coverage
        self.options: dict[str, Any] = {"cache": cache, "device": device}
        self.examples: list[tuple[Image.Image, str]] = []
        self.names: list[str] = []
        self.task: str | None = None
        self.classifier: Any = None
        self._learned: list[tuple[Image.Image, str]] = []  # the examples that the classifier knows
        self._rows: np.ndarray | None = None  # their features

    def add(self, name: str, pictures: Sequence[Image.Image]) -> None:
        """Further examples of a class; `learn` is to be called again.

        Raises:
            ValueError: no name, or no pictures.
        """
        name = name.strip()
        if not name or not pictures:
            raise ValueError("Name the class and choose at least one picture of it.")
        self.examples += [(to_rgb(upright(picture)), name) for picture in pictures]

    def describe(self, names: str, task: str = "") -> None:
        """Class names, separated by commas or lines, and what the task is, in words."""
        given = [part.strip() for part in names.replace("\n", ",").split(",")]
        self.names = list(dict.fromkeys(part for part in given if part))
        self.task = task.strip() or None

    def forget(self) -> None:
        """Begin anew."""
        self.examples, self._learned, self.names = [], [], []
        self.task = self.classifier = self._rows = None

    def counts(self) -> dict[str, int]:
        """Examples of each class, in the order in which classes came."""
        names = list(dict.fromkeys([*self.names, *(label for _, label in self.examples)]))
        return {name: sum(label == name for _, label in self.examples) for name in names}

    def learn(self) -> str:
        """Fit the classifier; returns what is to be expected of it, in words.

        Raises:
            ValueError: fewer than two classes, or names for an encoder that reads no words.
        """
        counts = self.counts()
        if len(counts) < 2:
            raise ValueError("There must be at least two classes: add examples of another one, or type its name.")
        if self.names and not self.encoder.encodes("texts"):
            raise ValueError(f"{self.encoder.name} reads no words, so every class needs examples; leave the names out.")
        self._learned = list(self.examples)
        self._rows = self._features([picture for picture, _ in self.examples]) if self.examples else None
        pictures, labels = [picture for picture, _ in self.examples], [label for _, label in self.examples]
        if not self.names:
            self.classifier = FewShotClassifier(self.spec, self.learner, **self.options).fit(pictures, labels)
        elif not pictures:
            self.classifier = ZeroShotClassifier(self.spec, self.task, **self.options).fit(None, list(counts))
            return (
                f"{len(counts)} classes by their names; no examples, so nothing is known about how often it is right."
            )
        else:
            made = ZeroShotClassifier(self.spec, self.task, learner=self.both, **self.options)
            self.classifier = made.fit(pictures, labels, class_names=list(counts))
        few, told = min(counts.values()), f"{len(pictures)} examples of {len(counts)} classes."
        if few < 2:
            return (
                f"{told} With two of each it can be estimated how often it is right; till then its probabilities rest "
                "on an assumption."
            )
        estimate = self.classifier.estimate()
        low, high = estimate.interval
        mean = f"; mean over classes: {100 * estimate.balanced_accuracy:.0f} %" if estimate.uneven else ""
        return (
            f"{told} Held out in turn, {100 * estimate.accuracy:.0f} % of {estimate.count} were right (95 % interval "
            f"{100 * low:.0f} to {100 * high:.0f}){mean}."
        )

    def ask(self, picture: Image.Image, alike: int = 4) -> Answer:
        """What the classifier makes of a picture.

        Raises:
            ValueError: nothing was learned yet.
        """
        if self.classifier is None:
            raise ValueError("Nothing was learned yet: add examples or names, then learn.")
        shown = [to_rgb(upright(picture))]
        chances = self.classifier.predict_proba(shown)[0]
        names = [str(name) for name in self.classifier.classes_]
        order = np.argsort(-chances, kind="stable")
        likely = None
        near: list[tuple[Image.Image, str, float]] = []
        if self._rows is not None:
            inside = self.classifier.predict_set(shown, self.coverage)[0]  # [N]
            likely = [names[place] for place in order if inside[place]]
            similarity, index = nearest(self._features(shown), self._rows, alike)
            near = [(*self._learned[row], float(cosine)) for row, cosine in zip(index[0], similarity[0], strict=True)]
        return Answer(names[order[0]], {names[place]: float(chances[place]) for place in order}, likely, near)

    def correct(self, picture: Image.Image, label: str) -> str:
        """Make a picture an example of the class that it is really of, and learn again."""
        self.add(label, [picture])
        return self.learn()

    def pack(self, place: Path) -> Path:
        """The classifier as a zip of the folder that ``fewshot predict`` reads.

        Args:
            place: folder for both.

        Raises:
            ValueError: nothing was learned yet.
        """
        if self.classifier is None:
            raise ValueError("Nothing was learned yet: add examples or names, then learn.")
        folder = place / "classifier"
        self.classifier.save_pretrained(folder)
        with zipfile.ZipFile(place / "classifier.zip", "w") as archive:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                archive.write(file, file.relative_to(place))
        return place / "classifier.zip"

    def _features(self, pictures: list[Image.Image]) -> np.ndarray:
        from fewshot.embedding import embed

        arrays = [np.asarray(picture) for picture in pictures]
        rows: np.ndarray = embed(arrays, self.encoder, progress=False, **self.options).features.float().cpu().numpy()
        return rows

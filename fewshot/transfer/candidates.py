"""What an advisor can try: an encoder with a strategy, or a trivial representation that needs no encoder."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from episodes.episode import Episode
from episodes.identity import digest
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.candidate import Candidate, Cost, Setting
from fewshot.transfer.expected_gain import expected, expected_from_scratch
from fewshot.transfer.fine_tuning import fine_tune
from fewshot.transfer.outlook import Outlook
from fewshot.transfer.settings import Settings
from fewshot.transfer.strategies import load_strategies

HEAD = "cl2n | logistic(C=10.0)"  # on frozen features
_BATCH = 32  # as fine_tune has it


class Frozen(Candidate):
    """Logistic regression on the frozen features of an encoder: centred, of unit length."""

    strategy, anchor = "logistic", True

    def __init__(self, encoder: Encoder, kind: str = "transfer") -> None:
        self.model, self.kind = encoder, kind
        self.encoder = self.spec = encoder.name

    def identity(self) -> str:
        """Of encoder and head."""
        return digest(["frozen", HEAD, self.model.fingerprint])

    def answers(self, source: Any, train: Tensor, test: Tensor, how: Setting) -> Tensor:
        """Embed, fit, classify."""
        from fewshot.learners import load_learner

        rows = how.features(self.model, source)
        episode = Episode(rows[train][None], source.labels[train][None], rows[test][None], len(source.class_names))
        with torch.no_grad():
            answer: Tensor = load_learner(HEAD)(episode)[0].argmax(1)
        return answer

    def measure(self, few: Any, how: Setting) -> Cost:
        """By doing it; embedding, which is done once, is not counted."""
        index = torch.arange(len(few))
        rows = Setting(how.device, how.cache, how.epochs, how.seed)
        width = rows.features(self.model, few).shape[1]
        began = time.perf_counter()
        self.answers(few, index, index, rows)
        return Cost(0.0, (), (time.perf_counter() - began) / (2 * len(few)), len(few.class_names) * (width + 1))

    def recipe(self) -> str:
        """A classifier on frozen features."""
        return f"FewShotClassifier({self.spec!r}, {HEAD!r})"


class Tfidf(Candidate):
    """Logistic regression on TF-IDF of words and pairs of words: texts without any encoder."""

    kind, encoder, spec, strategy = "trivial", "tf-idf", "tf-idf", "logistic"
    anchor = True

    def identity(self) -> str:
        """Its name."""
        return digest(["tf-idf", "words 1-2", "logistic C=10"])

    def answers(self, source: Any, train: Tensor, test: Tensor, how: Setting) -> Tensor:
        """Count, weigh, fit, classify."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
            LogisticRegression(C=10.0, max_iter=2000),
        )
        known, asked = source.select(train), source.select(test)
        return torch.from_numpy(model.fit(known.texts, known.labels.numpy()).predict(asked.texts))

    def measure(self, few: Any, how: Setting) -> Cost:
        """By doing it."""
        index = torch.arange(len(few))
        began = time.perf_counter()
        self.answers(few, index, index, how)
        return Cost(0.0, (), (time.perf_counter() - began) / (2 * len(few)), 0)

    def recipe(self) -> str:
        """As scikit-learn has it."""
        return "make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10.0))"


class Tunes(Candidate):
    """A strategy of `fine_tune`."""

    def __init__(self, encoder: Encoder, strategy: str) -> None:
        self.model, self.strategy = encoder, strategy
        self.encoder = self.spec = encoder.name
        self.phases = load_strategies(strategy)
        if not self.phases[0].pretrained:
            self.kind = "scratch"

    def identity(self) -> str:
        """Of encoder and strategy, and of what `fine_tune` does where nothing is said."""
        defaults = {name: value for name, value in _defaults().items() if name not in ("cache", "device", "progress")}
        return digest(["fine-tune", self.strategy, repr(self.phases), self.model.fingerprint, defaults])

    def answers(self, source: Any, train: Tensor, test: Tensor, how: Setting) -> Tensor:
        """Tune, and classify by the tuned head."""
        cache = how.cache_of(self.model)
        tuned = self._tune(source.select(train), how, how.epochs)
        kept = cache if not tuned.changed else False  # rows of a network that is thrown away are not kept
        return tuned.logits(source.select(test), cache=kept, device=how.device).argmax(1).cpu()

    def measure(self, few: Any, how: Setting) -> Cost:
        """Two passes over a few rows: the second, of each strategy, tells what an update costs."""
        stamps: list[float] = []
        began = time.perf_counter()
        tuned = self._tune(few, how, 2, callbacks=[lambda report: stamps.append(time.perf_counter())])
        whole = time.perf_counter() - began
        each, place = [], 0
        for phase, reports in zip(tuned.plan.phases if tuned.plan else (), tuned.history, strict=True):
            own = stamps[place : place + len(reports)]
            place += len(reports)
            passes = own[-1] - own[0] if len(own) > 1 else whole
            each.append(passes / max(1, len(own) - 1) / (phase.steps // phase.epochs))
        spent = sum(step * phase.steps for step, phase in zip(each, tuned.plan.phases if tuned.plan else (),
                                                              strict=True))  # fmt: skip
        began = time.perf_counter()
        tuned.logits(few, cache=False, device=how.device)
        forward = (time.perf_counter() - began) / len(few)
        trained = max(sum(line.trained for line in phase.lines) for phase in tuned.plan.phases) if tuned.plan else 0
        return Cost(max(0.0, whole - spent), tuple(each), forward, trained)

    def seconds(self, cost: Cost, train: int, test: int, how: Setting) -> float:
        """Prediction for so many rows."""
        settings = _settings(how.epochs)
        steps = [settings.passes(phase, train) * -(-train // _BATCH) for phase in self.phases]
        small = min(1.0, train / _BATCH)
        updates = sum(number * step * small for number, step in zip(steps, cost.steps, strict=True))
        return super().seconds(cost, train, test, how) + updates

    def outlook(self, frozen: float | None, trivial: float | None, rows: float) -> Outlook:
        """What strategies like it gained elsewhere; from scratch: what no network does."""
        if self.kind == "scratch":
            return expected_from_scratch(trivial)
        return expected(self.phases, frozen, rows)

    def recipe(self) -> str:
        """A fine-tuning."""
        return f"fine_tune({self.spec!r}, source, {self.strategy!r})"

    def _tune(self, train: Any, how: Setting, epochs: int | None, **options: Any) -> Any:
        return fine_tune(
            self.model, train, self.strategy, epochs=epochs, batch_size=_BATCH, seed=how.seed, device=how.device,
            cache=how.cache_of(self.model), progress=False, **options,
        )  # fmt: skip


def make_candidates(
    encoders: Sequence[Encoder], strategies: Sequence[str], baseline: Candidate | None = None
) -> list[Candidate]:
    """Every encoder with every strategy, and the baseline; of an encoder without a network (pixels) its features alone.

    Where ``"scratch"`` is among the strategies it is the only one that trains an encoder of random weights (its
    `pretrained` is false): there is nothing that the others could keep.

    Raises:
        ValueError: an unknown strategy.
    """
    for strategy in strategies:
        if strategy != Frozen.strategy:
            try:
                load_strategies(strategy)
            except ValueError as error:
                raise ValueError(f"{error} 'logistic' is logistic regression on frozen features.") from None
    found: list[Candidate] = []
    for encoder in encoders:
        if encoder.module is None:
            found.append(Frozen(encoder, "trivial"))
            continue
        own = [Frozen(encoder) if one == Frozen.strategy else Tunes(encoder, one) for one in strategies]
        if not encoder.pretrained and any(one.kind == "scratch" for one in own):
            own = [one for one in own if one.kind == "scratch" or one.strategy == Frozen.strategy]
        found += own
    if baseline is not None and baseline.name not in {candidate.name for candidate in found}:
        found.append(baseline)
    return found


def _defaults() -> dict[str, Any]:
    return {name: one.default for name, one in inspect.signature(fine_tune).parameters.items()
            if one.default is not inspect.Parameter.empty}  # fmt: skip


def _settings(epochs: int | None) -> Settings:
    values = {**_defaults(), "epochs": epochs, "batch_size": _BATCH}
    return Settings(**{name: values[name] for name in Settings.__dataclass_fields__})

"""Choosing an adapter without a label of the target: scores of pipelines, and the verdict that none should be used."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.adaptation.adapter import AdaptationWarning
from fewshot.adaptation.importance import importance_validation
from fewshot.learner import Learner
from fewshot.learners import load_learner

NOTHING = "nothing"
_LEAST = 0.02  # gains below it are not worth a change


def reverse_validation(learner: Learner, episode: Episode) -> Tensor:
    """Whether the way back arrives: accuracy on the source of what is learned from guessed target labels ``[E]``.

    The learner labels the target rows; from these, as a source, it learns anew and classifies the source rows, whose
    labels are known. Guesses that are wrong in a consistent way (two classes swapped) go unnoticed.

    Args:
        learner: usually a pipeline with an adapter.
        episode: support of the source; the target is `Episode.unlabelled`, or else the queries.

    Reference: Zhong, Fan, Yang, Verscheure, Ren, "Cross validation framework to choose amongst models and datasets for
    transfer learning", ECML 2010; Ganin et al., "Domain-adversarial training of neural networks", JMLR 17 (2016).
    """
    target = _target(episode)
    with torch.no_grad():
        guesses = learner(episode.replace(query=target, unlabelled=None)).argmax(-1)  # [E, U]
        back = Episode(target, guesses, episode.support, way=episode.way, ids=episode.ids)
        answers = learner(back).argmax(-1)  # [E, S]
    known = episode.labels >= 0
    right = ((answers == episode.labels) & known).sum(1)
    return right.double() / known.sum(1).clamp(min=1)


def information(learner: Learner, episode: Episode) -> Tensor:
    """How sure and how varied the answers about the target are ``[E]``, 0..1: ``(H(mean p) - mean H(p)) / log N``.

    Entropy alone is fooled by a learner that surely answers one class; diversity alone by one that guesses.
    Probabilities are compared across pipelines, so all should have one learner, whose logits have one scale.

    Args:
        learner: usually a pipeline with an adapter.
        episode: as for `reverse_validation`.

    Reference: Bridle, Heading, MacKay, "Unsupervised classifiers, mutual information and phantom targets", NIPS 1991;
    as a choice between adaptations: Liang, Hu, Feng, ICML 2020, arXiv:2002.08546.
    """
    with torch.no_grad():
        chances = learner(episode.replace(query=_target(episode), unlabelled=None)).softmax(-1).double()  # [E, U, N]

    def entropy(p: Tensor) -> Tensor:
        return -torch.xlogy(p, p).sum(-1)

    return (entropy(chances.mean(1)) - entropy(chances).mean(1)) / math.log(max(episode.way, 2))


class Choice(NamedTuple):
    """What to put before the learner, by the mean score over episodes."""

    adapter: str  # NOTHING where no candidate is clearly better
    scores: dict[str, float]  # of every candidate, NOTHING among them
    margin: float  # by how much the best is above NOTHING
    error: float  # standard error of that difference over episodes; NaN for a single one
    harmful: tuple[str, ...] = ()  # candidates that are clearly below NOTHING

    @property
    def warning(self) -> str | None:
        """In words, where adapting would do harm by this score."""
        if not self.harmful:
            return None
        worst = min(self.harmful, key=lambda name: self.scores[name])
        gap = self.scores[worst] - self.scores[NOTHING]
        others = f", as would {len(self.harmful) - 1} others" if len(self.harmful) > 1 else ""
        return f"{worst} would do harm ({gap:+.3f} against nothing){others}, by a score that knows no target label."

    def __str__(self) -> str:
        table = "\n".join(f"  {name:32s} {score:.3f}" for name, score in sorted(self.scores.items(), key=_by_score))
        verdict = "do not adapt: no candidate is clearly better" if self.adapter == NOTHING else f"use {self.adapter}"
        said = [f"{table}\n{verdict} ({self.margin:+.3f} ± {self.error:.3f} against nothing)", self.warning]
        return "\n".join(part for part in said if part)


def choose_adapter(candidates: Sequence[str], learner: str, episode: Episode, *, score: str = "reverse") -> Choice:
    """Score adapters before a learner, without target labels, and name the best, or none.

    ``NOTHING`` is always among the candidates, and stays chosen unless another is better by 0.02, and by two standard
    errors over the episodes where there are several.

    Args:
        candidates: specs of adapters, also several in a row: ``["domain-centre", "l2 | tca"]``.
        learner: spec of what follows: ``"logistic"``.
        episode: a batch; support of the source; the target is `Episode.unlabelled`, or else the queries.
        score: ``"reverse"`` (`reverse_validation`), ``"information"`` or ``"importance"`` (`importance_validation`).

    Raises:
        ValueError: an unknown score, or a spec that cannot be read.

    Warns:
        AdaptationWarning: some candidate is clearly worse than nothing, by as much as would make a better one chosen.
    """
    if score not in SCORES:
        raise ValueError(f"score={score!r}; it must be one of {', '.join(SCORES)}.")
    specs = {NOTHING: learner, **{name: f"{name} | {learner}" for name in candidates}}
    found = {name: SCORES[score](load_learner(spec), episode) for name, spec in specs.items()}  # [E] each
    choice = choose(found)
    if choice.warning is not None:
        warnings.warn(choice.warning, AdaptationWarning, stacklevel=2)
    return choice


def choose(found: Mapping[str, Tensor]) -> Choice:
    """The verdict on scores ``[E]`` of candidates, `NOTHING` among them."""
    means = {name: float(values.mean()) for name, values in found.items()}
    best = max(means, key=lambda name: means[name])
    gaps = {name: values - found[NOTHING] for name, values in found.items()}
    bounds = {name: max(_LEAST, 2 * _error(gap)) if len(gap) > 1 else _LEAST for name, gap in gaps.items()}
    chosen = best if means[best] - means[NOTHING] > bounds[best] else NOTHING
    harmful = tuple(name for name in found if means[name] - means[NOTHING] < -bounds[name])
    return Choice(chosen, means, float(gaps[best].mean()), _error(gaps[best]), harmful)


def _error(gap: Tensor) -> float:
    return float(gap.std() / len(gap) ** 0.5) if len(gap) > 1 else float("nan")


def _target(episode: Episode) -> Tensor:
    more = episode.unlabelled
    return episode.query if more is None or not more.shape[1] else more


def _by_score(item: tuple[str, float]) -> float:
    return -item[1]


SCORES: dict[str, Callable[[Learner, Episode], Tensor]] = {
    "reverse": reverse_validation,
    "information": information,
    "importance": importance_validation,
}

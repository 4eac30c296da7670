"""Transforms in front of a learner, as one learner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from episodes.episode import Episode, Support
from episodes.source import Source, TensorSource
from fewshot.learner import Learner, State
from fewshot.transforms.transform import Transform


class Pipeline(Learner):
    """Transforms in front of a learner; itself a learner.

    Args:
        transforms: applied in this order to support and queries (and to text, where that makes sense).
        learner: learns from the transformed rows.

    Raises:
        ValueError: a transform that looks at target rows (see `fewshot.adaptation`).
    """

    shows_target: ClassVar[bool] = False

    def __init__(self, transforms: Sequence[Transform], learner: Learner) -> None:
        super().__init__()
        stray = [transform for transform in transforms if getattr(transform, "sees_target", False)]
        if stray and not self.shows_target:
            raise ValueError(
                f"{stray[0]!r} looks at rows of the target, which a Pipeline does not show it; make the learner by "
                f'load_learner("{stray[0]!r} | {learner!r}").'
            )
        self.transforms = nn.ModuleList(transforms)
        self.learner = learner
        self.needs, self.transductive, self.weighted = learner.needs, learner.transductive, learner.weighted
        first = transforms[0] if transforms else learner
        self.inputs = getattr(first, "inputs", learner.inputs)
        self.invariant = first.removes if isinstance(first, Transform) else learner.invariant
        self.tolerance = learner.tolerance  # type: ignore[misc]
        for declared in ("expected_failures", "untrained"):
            found = [getattr(part, declared, {}) for part in (*transforms, learner)]
            setattr(self, declared, {name: why for part in found for name, why in part.items()})
        for part in (first, learner):  # learners of fixed sizes say so, and so does a pipeline of them
            for name in ("item_shape", "way"):
                if hasattr(part, name) and not hasattr(self, name):
                    setattr(self, name, getattr(part, name))

    def fit(self, base: Source | Tensor) -> Pipeline:
        """Fit each transform on base data, seen through the ones before it, then the learner if it can be.

        Returns itself.
        """
        transforms, fit = self._transforms(), getattr(self.learner, "fit", None)
        seen: Source | Tensor = base
        for number, transform in enumerate(transforms):
            transform.fit(seen)
            if number + 1 < len(transforms) or callable(fit):  # all rows at once only where they are needed
                rows = seen if isinstance(seen, Tensor) else seen[torch.arange(len(seen))]
                alone = Support(rows[None], torch.zeros(1, len(rows), dtype=torch.long), way=1)
                seen = transform(rows[None], transform.adapt(alone))[0]
        if transforms:
            self.invariant = transforms[0].removes
        if callable(fit):
            labelled = isinstance(seen, Tensor) and not isinstance(base, Tensor)
            fit(TensorSource(seen, base.labels, name=base.name) if labelled else seen)  # type: ignore[union-attr, arg-type]
        return self

    def adapt(self, support: Support) -> State:
        """States of the transforms, then of the learner."""
        states = []
        for transform in self._transforms():
            states.append(transform.adapt(support))
            support = _through(transform, states[-1], support)
        return (*states, self.learner.adapt(support))

    def adapt_without(self, state: State, support: Support, left: Tensor) -> State:
        """Transforms that look at no other row are applied once, and the learner takes rows out."""
        if any(type(transform).adapt is not Transform.adapt for transform in self._transforms()):
            return super().adapt_without(state, support, left)
        *states, last = state
        for transform, known in zip(self._transforms(), states, strict=True):
            support = _through(transform, known, support)
        nothing = [known.expand(len(left)) for known in states]
        return (*nothing, self.learner.adapt_without(last, support, left))

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Transform the queries and let the learner classify them."""
        *states, last = state
        for transform, known in zip(self._transforms(), states, strict=True):
            query = transform(query, known)
        return self.learner.predict(last, query)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The learner's, of the transformed episode."""
        for transform in self._transforms():
            state = transform.adapt(episode.without_query())
            episode = _through(transform, state, episode.without_query()).with_query(transform(episode.query, state))
        return self.learner.outlier_score(episode, logits)

    def check(self, episode: Support) -> None:
        """Refuse what the learner would refuse."""
        self.learner.check(episode)

    def hyperparameters(self) -> dict[str, Any]:
        """Transforms and learner."""
        return {"transforms": self._transforms(), "learner": self.learner}

    def _transforms(self) -> list[Transform]:
        return [transform for transform in self.transforms if isinstance(transform, Transform)]

    def __repr__(self) -> str:
        """The spec string, parts separated by ``|``."""
        return " | ".join([*map(repr, self.transforms), repr(self.learner)])


def _through(transform: Transform, state: State, support: Support) -> Support:
    """The support as a learner behind the transform sees it."""
    text, more = support.text, support.unlabelled
    return support.replace(
        support=transform(support.support, state),
        unlabelled=None if more is None else transform(more, state),
        text=transform(text, state) if text is not None and transform.applies_to_text else text,
    )

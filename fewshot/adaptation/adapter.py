"""`DomainAdapter`: a transform that looks at unlabelled target rows, and the pipeline that shows them to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner, State
from fewshot.transforms import Pipeline, Transform

Ask = Callable[[Support, Tensor], Tensor]  # what the rest of the pipeline, adapted to the first, answers of the second


class AdaptationWarning(UserWarning):
    """The two domains are such that an adaptation may do harm."""


class DomainAdapter(Transform):
    """Changes labelled source rows, their weights, or both, so that what is learned from them holds in the target.

    The target is seen without labels: `Episode.unlabelled` where an episode has such rows, else its queries, which
    makes the pipeline transductive. Written before a learner, ``"coral | logistic"``.

    Class attributes:
        reweights: True if it sets `Episode.weights`, which the learner behind it must honour.
        setting: what it may see, one of `episodes.SETTINGS`.
    """

    setting: ClassVar[str] = "domain-adaptation"
    sees_target = True
    reweights: bool = False

    def align(self, source: Support, target: Tensor, ask: Ask) -> tuple[Support, State]:
        """What to learn from, and what `forward` needs to map target rows.

        Args:
            source: labelled rows ``[E, S, D]``; label -1 is padding.
            target: ``[E, U, D]``.
            ask: see above; for methods that guess target labels.

        Returns:
            The episode to learn from, in the coordinates of mapped target rows.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define align(source, target, ask).")

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Map target rows ``[E, R, D]``; as they are by default."""
        return rows


class AdaptedPipeline(Pipeline):
    """Transforms, at least one of which is a `DomainAdapter`, in front of a learner.

    Args:
        transforms: applied in this order.
        learner: learns from the source rows that come out.

    Raises:
        ValueError: an adapter weighs rows, and the learner has no use for weights; or class text, which belongs to no
            domain, is needed.
    """

    transductive = True
    shows_target = True
    setting = "domain-adaptation"

    def __init__(self, transforms: Sequence[Transform], learner: Learner) -> None:
        super().__init__(transforms, learner)
        weighing = [part for part in transforms if isinstance(part, DomainAdapter) and part.reweights]
        if weighing and not learner.weighted:
            raise ValueError(
                f"{weighing[0]!r} weighs the source rows, but {learner!r} cannot weigh its examples; take one that "
                "can, such as 'logistic', 'ridge' or 'prototypes'."
            )
        if "text" in learner.needs:
            raise ValueError(f"{learner!r} uses class text, which domain adapters do not map; take one that does not.")
        self.needs = tuple(dict.fromkeys((*learner.needs, "unlabelled")))
        self.transductive, self.invariant = True, ()

    def adapt(self, support: Support) -> State:
        """Keep the source and the unlabelled rows: without any, the target is known when there are queries."""
        rows, more, weights = support.support, support.unlabelled, support.weights
        return {
            "support": rows,
            "labels": support.labels,
            "weights": torch.ones_like(support.labels, dtype=rows.dtype) if weights is None else weights,
            "unlabelled": rows[:, :0] if more is None else more,
            "ids": support.labels.new_zeros(len(support)) if support.ids is None else support.ids,
            "way": rows.new_zeros(len(support), support.way, 0),  # its shape is the number: no value is read back
        }

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Adapt to the target rows, learn from the source, classify the queries."""
        unlabelled = state["unlabelled"]
        source = Support(
            state["support"], state["labels"], way=state["way"].shape[1], ids=state["ids"],
            weights=state["weights"] if self.weighted else None,
        )  # fmt: skip
        target = unlabelled if unlabelled.shape[1] else query
        return self._answer(0, source, target, query)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The log-odds against the best class: what the learner saw is not kept."""
        return Learner.outlier_score(self, episode, logits)

    def _answer(self, place: int, source: Support, target: Tensor, query: Tensor) -> Tensor:
        """Logits of queries by the part of the pipeline that begins at `place` ``[E, Q, N]``."""
        parts: list[Any] = self._transforms()
        if place == len(parts):
            return self.learner.predict(self.learner.adapt(source), query)
        part = parts[place]
        if not isinstance(part, DomainAdapter):
            state = part.adapt(source)
            source = source.replace(support=part(source.support, state))
            return self._answer(place + 1, source, part(target, state), part(query, state))

        def ask(task: Support, rows: Tensor) -> Tensor:
            return self._answer(place + 1, task, rows, rows)

        learned, state = part.align(source, target, ask)
        same = target is query
        target = part(target, state)
        query = target if same else part(query, state)
        return self._answer(place + 1, learned, target, query)

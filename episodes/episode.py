"""`Support` and `Episode`: what is learned from, and what is classified; with the glossary of the whole library.

======  =========================================  ======  ===================================
letter  is the number of                           letter  is the number of
======  =========================================  ======  ===================================
``E``   episodes in a batch                        ``D``   features of one embedding
``N``   ways: classes in an episode                ``C``   classes of a dataset
``K``   shots: labelled examples of a class        ``M``   rows of a dataset
``S``   support rows of an episode (often N K)     ``T``   templates (prompts) of a class
``Q``   query rows of an episode                   ``*x``  any item shape: ``D`` or ``3 H W``
======  =========================================  ======  ===================================

A `Support` is all that `fewshot.Learner.adapt` receives. An `Episode` is a `Support` with queries. The query labels are
in neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from episodes.precision import refuse_unusual

Rows = TypeVar("Rows", bound="Support")  # a Support, or an Episode where one is given


@dataclass(frozen=True, repr=False)
class Support:
    """A batch of E tasks to learn from: labelled rows, class text, and no queries.

    Label ``-1`` marks padding, so tasks with unequal shots or fewer ways share one tensor.

    Attributes:
        support: examples to learn from ``[E, S, *x]``; ``S = 0`` is zero-shot.
        labels: class of each support row, ``0..way-1`` or ``-1`` (padding) ``[E, S]``, integer.
        way: number of classes N; logits are ``[E, Q, way]``.
        text: one vector per class ``[E, N, D]`` (or one per template, ``[E, N, T, D]``), zero where a way is
            absent; None where classes have no names.
        ids: episode numbers ``[E]``; stochastic learners seed themselves with them.
        unlabelled: extra rows of unknown class ``[E, U, *x]`` for semi-supervised learners, or None.
        weights: how much each support row counts ``[E, S]``, at least 0, or None: all alike. A learner that
            takes them says so (`fewshot.Learner.weighted`).

    Raises:
        ValueError: shapes disagree, a label lies outside ``-1..way-1``, or a tensor is sparse or complex.

    >>> import torch
    >>> support = Support(torch.zeros(2, 5, 64), torch.arange(5).expand(2, 5), way=5)
    >>> len(support), support.shots.tolist()[0]
    (2, [1, 1, 1, 1, 1])
    >>> support.query
    Traceback (most recent call last):
    AttributeError: a Support has no query: a learner adapts to the support alone, and queries come to predict(...).
    """

    support: Tensor
    labels: Tensor
    way: int
    text: Tensor | None = None
    ids: Tensor | None = None
    unlabelled: Tensor | None = None
    weights: Tensor | None = None

    if not TYPE_CHECKING:  # a type checker shall see that there is no query

        def __getattr__(self, name: str) -> Any:
            if name == "query":
                raise AttributeError(
                    "a Support has no query: a learner adapts to the support alone, and queries come to predict(...)."
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __post_init__(self) -> None:
        support, labels = self.support, self.labels
        for name in ("support", "text", "unlabelled"):
            if (value := getattr(self, name)) is not None:
                refuse_unusual(value, name)
        if labels.ndim != 2 or support.shape[:2] != labels.shape:
            raise ValueError(
                f"support is {list(support.shape)} and labels {list(labels.shape)}; "
                "they must be [E, S, *x] and [E, S] with the same E and S."
            )
        if self.way < 1:
            raise ValueError(f"way={self.way}; an episode needs at least one class.")
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(f"labels are {labels.dtype}; they must be integers 0..way-1, or -1 for padding.")
        if self.text is not None and self.text.shape[:2] != (len(support), self.way):
            raise ValueError(
                f"text is {list(self.text.shape)}; it must be [E, N, D] with E={len(support)}, N={self.way}."
            )
        more = self.unlabelled
        if more is not None and (len(more) != len(support) or more.shape[2:] != support.shape[2:]):
            raise ValueError(
                f"unlabelled is {list(more.shape)}; it must be [E, U, *x] with E={len(support)} and items like support."
            )
        if self.weights is not None and self.weights.shape != labels.shape:
            raise ValueError(f"weights is {list(self.weights.shape)}; it must be [E, S], {list(labels.shape)}.")
        if self.ids is not None and self.ids.shape != (len(support),):
            raise ValueError(f"ids is {list(self.ids.shape)}; it must be [E] with E={len(support)}.")
        # Reading values off an accelerator would stall it, so only labels in host memory are checked.
        if labels.device.type == "cpu" and labels.numel():
            low, high = labels.aminmax()
            if int(low) < -1 or int(high) >= self.way:
                raise ValueError(
                    f"labels range from {int(low)} to {int(high)}; with way={self.way} they must lie in "
                    f"0..{self.way - 1}, or be -1 for padding. Renumber the classes of each episode from 0."
                )

    @property
    def one_hot(self) -> Tensor:
        """Labels as indicator rows ``[E, S, N]`` in the support's dtype; padding is a row of zeros."""
        classes = torch.arange(self.way, device=self.labels.device)
        dtype = self.support.dtype if self.support.is_floating_point() else torch.get_default_dtype()
        return (self.labels.unsqueeze(-1) == classes).to(dtype)  # [E, S, N]

    @property
    def weighted_one_hot(self) -> Tensor:
        """Labels as indicator rows times the weight of each row ``[E, S, N]``."""
        one_hot = self.one_hot
        return one_hot if self.weights is None else one_hot * self.weights.unsqueeze(-1).to(one_hot.dtype)

    @property
    def shots(self) -> Tensor:
        """Number of support rows of each class ``[E, N]``, int64."""
        place = torch.where(self.labels < 0, self.way, self.labels).long()  # padding goes to one more class
        counts = torch.zeros(len(self.labels), self.way + 1, dtype=torch.int64, device=self.labels.device)
        return counts.scatter_add(1, place, torch.ones_like(place))[:, :-1]  # [E, N]

    def with_query(self, query: Tensor) -> Episode:
        """These tasks with queries ``[E, Q, *x]``."""
        return Episode(query=query, **{part.name: getattr(self, part.name) for part in fields(Support)})

    def replace(self: Rows, **changes: object) -> Rows:
        """A copy with some fields exchanged; tensors are shared, not copied."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def to(self: Rows, device: torch.device | str, *, non_blocking: bool = False) -> Rows:
        """The same tasks on another device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=non_blocking) for name, value in self._tensors().items()
        }
        return replace(self, **moved)

    def __len__(self) -> int:
        """Number of tasks E."""
        return len(self.support)

    def __getitem__(self: Rows, index: int | slice) -> Rows:
        """Some of the tasks, still as a batch: ``episode[3]`` has E = 1."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"episode {index} of a batch of {len(self)}")
            index = slice(index % len(self), index % len(self) + 1)
        chosen: dict[str, Any] = {name: value[index] for name, value in self._tensors().items()}
        return replace(self, **chosen)

    def __iter__(self: Rows) -> Iterator[Rows]:
        """The tasks one by one, each a batch of one."""
        return (self[e] for e in range(len(self)))

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={list(value.shape)}" for name, value in self._tensors().items())
        return f"{type(self).__name__}(way={self.way}, {inner})"

    def _tensors(self) -> dict[str, Tensor]:
        held = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: value for name, value in held.items() if isinstance(value, Tensor)}


@dataclass(frozen=True, init=False, repr=False)
class Episode(Support):
    """A batch of E episodes: a `Support` and unlabelled queries, and never the query labels.

    Attributes:
        query: examples to classify ``[E, Q, *x]``.

    The others are those of `Support`; as arguments they come in the order support, labels, query, way, text, ids,
    unlabelled, weights.

    Raises:
        ValueError: as for `Support`; or the queries are not rows like the support's.

    >>> import torch
    >>> episode = Episode(torch.zeros(2, 5, 64), torch.arange(5).expand(2, 5), torch.zeros(2, 75, 64), way=5)
    >>> len(episode), episode.shots.tolist()[0]
    (2, [1, 1, 1, 1, 1])
    >>> episode.without_query()
    Support(way=5, support=[2, 5, 64], labels=[2, 5])
    """

    query: Tensor = field(kw_only=True)

    def __init__(
        self,
        support: Tensor,
        labels: Tensor,
        query: Tensor,
        way: int,
        text: Tensor | None = None,
        ids: Tensor | None = None,
        unlabelled: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        # Written out, as a dataclass would put the query last, behind arguments that have defaults.
        self.__dict__.update(
            support=support, labels=labels, query=query, way=way, text=text, ids=ids, unlabelled=unlabelled,
            weights=weights,
        )  # fmt: skip
        self.__post_init__()

    def __post_init__(self) -> None:
        super().__post_init__()
        query, support = self.query, self.support
        refuse_unusual(query, "query")
        if query.ndim != support.ndim or len(query) != len(support) or query.shape[2:] != support.shape[2:]:
            raise ValueError(
                f"query is {list(query.shape)} and support {list(support.shape)}; "
                "they must be [E, Q, *x] and [E, S, *x] with the same E and item shape."
            )

    def without_query(self) -> Support:
        """The part that a learner adapts to; its tensors are shared, and were checked already."""
        part = object.__new__(Support)
        part.__dict__.update((name, value) for name, value in self.__dict__.items() if name != "query")
        return part

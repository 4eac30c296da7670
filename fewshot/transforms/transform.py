"""The contract of a transform: what it takes from the support (or from base data), and how it maps rows."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from episodes.episode import Support
from episodes.source import Source
from fewshot.learner import State
from fewshot.registry import argument_names, spec_string


class Transform(nn.Module):
    """Maps the rows of an episode, by statistics of its support (or of base data).

    Class attributes:
        name: its name in spec strings.
        applies_to_text: whether class text is mapped too. Statistics of images say nothing about text.
        removes: what of all rows of an episode it takes away, so that no learner behind it sees it: ``"offset"`` or
            ``"scale"``, as in `Learner.invariant`.
        sees_target: whether it looks at unlabelled rows of the target (see `fewshot.adaptation`).
    """

    name: ClassVar[str] = ""
    applies_to_text: ClassVar[bool] = False
    sees_target: ClassVar[bool] = False
    removes: tuple[str, ...] = ()

    def fit(self, base: Source | Tensor) -> Transform:
        """Learn from base data (never from the classes that are tested); returns itself."""
        return self

    def adapt(self, support: Support) -> State:
        """What is taken from the support; padding rows do not count."""
        return support.support.new_zeros(len(support))

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Map rows ``[E, R, D]``."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(rows, state).")

    def hyperparameters(self) -> dict[str, Any]:
        """The arguments of ``__init__`` with their present values."""
        return {name: getattr(self, name) for name in argument_names(type(self))}

    def __repr__(self) -> str:
        """The spec string."""
        return spec_string(self.name, self)

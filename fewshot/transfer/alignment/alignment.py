"""`Alignment`: a term of the loss that makes features of two domains alike."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from fewshot.registry import spec_string


class Alignment(nn.Module):
    """A term that is small where features of source and target rows are alike.

    Args:
        weight: of the term in the gradient of the network.

    Class attributes:
        name: in spec strings.
        setting: what it may see, one of `episodes.SETTINGS`.

    Raises:
        ValueError: `weight` is not positive.
    """

    name: ClassVar[str] = ""
    setting: ClassVar[str] = "domain-adaptation"

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if not 0 < weight < float("inf"):
            raise ValueError(
                f"{self.name}(weight={weight!r}); it must be positive. Without target= nothing is aligned."
            )
        self.weight = weight

    def begin(self, width: int) -> None:
        """Make parameters of its own, if it has any, for features of D = `width`."""

    def forward(self, source: Tensor, target: Tensor, progress: float) -> Tensor:
        """The term.

        Args:
            source: features ``[B, D]``.
            target: features ``[U, D]``.
            progress: share of the updates that are done, 0..1.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward(source, target, progress).")

    def __repr__(self) -> str:
        return spec_string(self.name, self)

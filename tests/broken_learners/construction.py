"""Learners whose declarations, arguments, copies or weights cannot be relied on."""

from __future__ import annotations

from typing import Any, ClassVar

from broken_learners.honest import Honest, HonestWeights


class UnknownInputs(Honest):
    inputs = "feature"


class UnknownInvariance(Honest):
    invariant = ("rotation",)


class UnknownNeeds(Honest):
    needs = ("supports",)


class ExpectsAnUnknownFailure(Honest):
    expected_failures: ClassVar[dict[str, str]] = {"one_shoot": "a typing error"}


class ConvertsItsArgument(Honest):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self.scale = [scale]  # type: ignore[assignment]


class RenamesItsArgument(Honest):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        del self.scale

    def __repr__(self) -> str:
        return "renames"


class ForgetsItsArgument(Honest):
    def __init__(self, scale: float = 2.0) -> None:
        super().__init__(scale)

    def __repr__(self) -> str:
        return "honest"


class SharesItsWeightsWithCopies(Honest):
    def __deepcopy__(self, memo: dict[int, Any]) -> SharesItsWeightsWithCopies:
        twin = type(self)(self.scale)
        twin.factor = self.factor
        return twin


class LosesItsWeightsWhenCopied(Honest):
    def __deepcopy__(self, memo: dict[int, Any]) -> LosesItsWeightsWhenCopied:
        return type(self)(self.scale + 1)


class HidesItsWeights(HonestWeights):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        matrix = self.matrix.detach()
        del self.matrix
        self.matrix = matrix  # a tensor that no state dict knows


BROKEN: list[tuple[str, type[Honest]]] = [
    ("declarations_are_valid", UnknownInputs),
    ("declarations_are_valid", UnknownNeeds),
    ("declarations_are_valid", UnknownInvariance),
    ("declarations_are_valid", ExpectsAnUnknownFailure),
    ("hyperparameters_are_stored", ConvertsItsArgument),
    ("hyperparameters_are_stored", RenamesItsArgument),
    ("spec_string_round_trip", ForgetsItsArgument),
    ("copies_are_independent", SharesItsWeightsWithCopies),
    ("copies_are_independent", LosesItsWeightsWhenCopied),
    ("weights_can_be_saved", HidesItsWeights),
]

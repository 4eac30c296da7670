"""What variants of MAML that only fix a choice have in common: their arguments."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from fewshot.learners.maml_family.maml import MAML


class Variant(MAML):
    """`MAML` with `fixed_order` and `fixed_parts` chosen by the class instead of the caller.

    Args:
        net: as for `MAML`, like all the others.
        way: classes N.
        item_shape: of one row.
        steps: in meta-training.
        rate: of the inner loop.
        test_steps: at test time; None: as in training.
        test_rate: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.
    """

    fixed_order: ClassVar[bool] = False  # first-order?
    fixed_parts: ClassVar[str] = "all"

    def __init__(
        self,
        net: str | nn.Module = "conv4(norm='task')",
        way: int = 5,
        item_shape: tuple[int, ...] = (1, 28, 28),
        steps: int = 5,
        rate: float = 0.1,
        test_steps: int | None = None,
        test_rate: float | None = None,
        strategy: str = "auto",
    ) -> None:
        super().__init__(
            net, way, item_shape, steps, rate, self.fixed_order, self.fixed_parts, test_steps, test_rate, strategy
        )

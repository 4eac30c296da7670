"""What variants of MAML that only fix a choice have in common: their arguments."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from fewshot.learners.maml_family.maml import MAML
from fewshot.renamed import renamed


class Variant(MAML):
    """`MAML` with `fixed_order` and `fixed_parts` chosen by the class instead of the caller.

    Args:
        net: as for `MAML`, like all the others.
        way: classes N.
        item_shape: of one row.
        steps: in meta-training.
        lr: of the inner loop.
        test_steps: at test time; None: as in training.
        test_lr: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.
    """

    fixed_order: ClassVar[bool] = False  # first-order?
    fixed_parts: ClassVar[str] = "all"

    @renamed(rate="lr", test_rate="test_lr")
    def __init__(
        self,
        net: str | nn.Module = "conv4(norm='task')",
        way: int = 5,
        item_shape: tuple[int, ...] = (1, 28, 28),
        steps: int = 5,
        lr: float = 0.1,
        test_steps: int | None = None,
        test_lr: float | None = None,
        strategy: str = "auto",
    ) -> None:
        super().__init__(
            net, way, item_shape, steps, lr, self.fixed_order, self.fixed_parts, test_steps, test_lr, strategy
        )

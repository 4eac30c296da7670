"""ANIL: only the head adapts."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from fewshot.learners.maml_family.maml import MAML


class ANIL(MAML):
    """`MAML` whose body is trained but never adapts: almost no inner loop, all episodes in one product.

    The body's features feed a linear head, which takes gradient steps from its meta-learned initialisation.

    Args:
        net: as for `MAML`, like all the others.
        way: classes N.
        item_shape: of one row.
        steps: in meta-training.
        rate: of the inner loop.
        test_steps: at test time; None: as in training.
        test_rate: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.

    Reference: Raghu, Raghu, Bengio, Vinyals, "Rapid learning or feature reuse? Towards understanding the effectiveness
    of MAML", ICLR 2020, arXiv:1909.09157.
    """

    name: ClassVar[str] = "anil"

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
            net,
            way,
            item_shape,
            steps,
            rate,
            parts="head",
            test_steps=test_steps,
            test_rate=test_rate,
            strategy=strategy,
        )

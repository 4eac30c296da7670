"""BOIL: only the body adapts."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from fewshot.learners.maml_family.maml import MAML


class BOIL(MAML):
    """`MAML` whose head stays where meta-training put it, so that the body has to change its features.

    Args:
        net: as for `MAML`, like all the others.
        way: classes N.
        item_shape: of one row.
        steps: in meta-training.
        rate: of the inner loop.
        test_steps: at test time; None: as in training.
        test_rate: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.

    Reference: Oh, Yoo, Kim, Yun, "BOIL: towards representation change for few-shot learning", ICLR 2021,
    arXiv:2008.08882.
    """

    name: ClassVar[str] = "boil"

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
            parts="body",
            test_steps=test_steps,
            test_rate=test_rate,
            strategy=strategy,
        )

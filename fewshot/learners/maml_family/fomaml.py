"""First-order MAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from fewshot.learners.maml_family.maml import FAILURES, MAML


class FOMAML(MAML):
    """`MAML` without second derivatives: a meta-step costs little more than its forward and backward passes.

    Args:
        net: as for `MAML`, like all the others.
        way: classes N.
        item_shape: of one row.
        steps: in meta-training.
        rate: of the inner loop.
        test_steps: at test time; None: as in training.
        test_rate: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.

    Reference: Finn, Abbeel, Levine, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML 2017,
    arXiv:1703.03400.
    """

    name: ClassVar[str] = "fomaml"
    expected_failures: ClassVar[Mapping[str, str]] = {
        **FAILURES,
        "gradients_match_finite_differences": "First-order: by definition not the derivative of what is computed.",
    }

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
            first_order=True,
            test_steps=test_steps,
            test_rate=test_rate,
            strategy=strategy,
        )

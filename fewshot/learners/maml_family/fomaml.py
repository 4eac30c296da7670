"""First-order MAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from fewshot.learners.maml_family.maml import FAILURES
from fewshot.learners.maml_family.variant import Variant


class FOMAML(Variant):
    """`MAML` without second derivatives: a meta-step costs little more than its forward and backward passes.

    Arguments as for `Variant`.

    Reference: Finn, Abbeel, Levine, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML 2017,
    arXiv:1703.03400.
    """

    name: ClassVar[str] = "fomaml"
    expected_failures: ClassVar[Mapping[str, str]] = {
        **FAILURES,
        "gradients_match_finite_differences": "First-order: by definition not the derivative of what is computed.",
    }
    fixed_order: ClassVar[bool] = True

"""ANIL: only the head adapts."""

from __future__ import annotations

from typing import ClassVar

from fewshot.learners.maml_family.variant import Variant


class ANIL(Variant):
    """`MAML` whose body is trained but never adapts: almost no inner loop, all episodes in one product.

    The body's features feed a linear head, which takes gradient steps from its meta-learned initialisation.

    Arguments as for `Variant`.

    Reference: Raghu, Raghu, Bengio, Vinyals, "Rapid learning or feature reuse? Towards understanding the effectiveness
    of MAML", ICLR 2020, arXiv:1909.09157.
    """

    name: ClassVar[str] = "anil"
    fixed_parts: ClassVar[str] = "head"

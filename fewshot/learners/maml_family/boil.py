"""BOIL: only the body adapts."""

from __future__ import annotations

from typing import ClassVar

from fewshot.learners.maml_family.variant import Variant


class BOIL(Variant):
    """`MAML` whose head stays where meta-training put it, so that the body has to change its features.

    Arguments as for `Variant`.

    Reference: Oh, Yoo, Kim, Yun, "BOIL: towards representation change for few-shot learning", ICLR 2021,
    arXiv:2008.08882.
    """

    name: ClassVar[str] = "boil"
    fixed_parts: ClassVar[str] = "body"

"""Mathematics that several learners share, batched over episodes: solvers, descents, graphs, and the parts of heads.

Public, for learners of your own: `class_means` and `product`. The rest may change with any release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["class_means", "product"]

if TYPE_CHECKING:
    from fewshot.maths.linalg import class_means as class_means
    from fewshot.maths.linalg import product as product


if not TYPE_CHECKING:  # so that a name which does not exist is found by type checkers

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used: modules of this package import one another."""
        if name in __all__:
            from importlib import import_module

            return getattr(import_module("fewshot.maths.linalg"), name)
        raise AttributeError(f"module 'fewshot.maths' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

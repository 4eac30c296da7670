"""Source-free adaptation: a tuned encoder for another domain, by unlabelled rows of it alone.

A new method is a class, and its line in `ENTRIES`.

=================================  ==============================================================================
spec                               what changes
=================================  ==============================================================================
``adabn``                          running statistics of batch norms, which are taken from the target
``tent(epochs, lr)``               these, and scales and shifts of batch norms, by the entropy of the answers
``shot(pseudo, epochs, lr)``       the whole network below the head, by information maximisation and pseudo-labels
=================================  ==============================================================================
"""

from __future__ import annotations

from fewshot.registry import Registry, load_one
from fewshot.transfer.source_free.method import SourceFree as SourceFree

ENTRIES = {
    "adabn": "fewshot.transfer.source_free.statistics:AdaBN",
    "shot": "fewshot.transfer.source_free.shot:SHOT",
    "tent": "fewshot.transfer.source_free.tent:Tent",
}
METHODS = Registry("source-free method", ENTRIES, "fewshot.source_free")

__all__ = ["ENTRIES", "SourceFree", "list_methods", "load_method"]


def list_methods() -> list[str]:
    """Names of all methods, built-in and installed."""
    return METHODS.names()


def load_method(spec: str | SourceFree) -> SourceFree:
    """The method that a spec names.

    Raises:
        ValueError: an unknown name or argument (the message suggests near ones), or one out of range.

    >>> load_method("tent(lr=1e-4)")
    tent(lr=0.0001)
    """
    return load_one(METHODS, spec, SourceFree, "method", "shot")

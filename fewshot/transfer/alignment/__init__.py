"""Alignments: what `fine_tune(target=...)` adds to the loss. A new one is a class, and its line in `ENTRIES`.

====================  =======================================================================================
spec                  what is made alike
====================  =======================================================================================
``dann(weight)``      a classifier of domains on the features is fooled, by a reversed gradient
``confusion(weight)`` it is made unsure: its answers are drawn to one half
``deep-coral(weight)``  covariances of the features
``mmd(weight)``       distributions of the features, under several Gaussian kernels
====================  =======================================================================================
"""

from __future__ import annotations

from fewshot.registry import Registry, load_one
from fewshot.transfer.alignment.alignment import Alignment as Alignment

ENTRIES = {
    "confusion": "fewshot.transfer.alignment.adversarial:Confusion",
    "dann": "fewshot.transfer.alignment.adversarial:DANN",
    "deep-coral": "fewshot.transfer.alignment.discrepancy:DeepCORAL",
    "mmd": "fewshot.transfer.alignment.discrepancy:MMD",
}
ALIGNMENTS = Registry("alignment", ENTRIES, "fewshot.alignments")

__all__ = ["ENTRIES", "Alignment", "list_alignments", "load_alignment"]


def list_alignments() -> list[str]:
    """Names of all alignments, built-in and installed."""
    return ALIGNMENTS.names()


def load_alignment(spec: str | Alignment) -> Alignment:
    """The alignment that a spec names.

    Raises:
        ValueError: an unknown name or argument (the message suggests near ones), or one out of range.

    >>> load_alignment("dann(0.5)")
    dann(weight=0.5)
    """
    return load_one(ALIGNMENTS, spec, Alignment, "alignment", "dann(weight=1.0)")

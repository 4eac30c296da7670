"""The methods by name. A new one is its file and one line here."""

from __future__ import annotations

import copy

from fewshot.registry import build_known
from fewshot.unsupervised.barlow_twins import BarlowTwins
from fewshot.unsupervised.method import Method
from fewshot.unsupervised.rotation import Rotation
from fewshot.unsupervised.simsiam import SimSiam

METHODS: dict[str, type[Method]] = {kind.name: kind for kind in (SimSiam, BarlowTwins, Rotation)}


def load_method(spec: str | Method) -> Method:
    """A method by its spec, ``"barlow-twins(weight=0.01)"``; one that is given is copied, not changed.

    Raises:
        ValueError: an unknown name or argument (the message suggests near ones), or one out of range.

    >>> load_method("simsiam(128)")
    simsiam(dim=128)
    """
    found: Method = copy.deepcopy(spec) if isinstance(spec, Method) else build_known(METHODS, "method", spec)
    return found

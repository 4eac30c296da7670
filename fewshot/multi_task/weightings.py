"""The weightings by name. A new one is its file and one line here."""

from __future__ import annotations

import copy

from fewshot.multi_task.gradnorm import GradNorm
from fewshot.multi_task.pcgrad import PCGrad
from fewshot.multi_task.uncertainty import Uncertainty
from fewshot.multi_task.weighting import Weighting
from fewshot.registry import build_known

WEIGHTINGS: dict[str, type[Weighting]] = {kind.name: kind for kind in (Weighting, Uncertainty, GradNorm, PCGrad)}


def load_weighting(spec: str | Weighting) -> Weighting:
    """A weighting by its spec, ``"gradnorm(alpha=0.5)"``; one that is given is copied, not changed.

    Raises:
        ValueError: an unknown name or argument (the message suggests near ones), or one out of range.

    >>> load_weighting("gradnorm(0.5)")
    gradnorm(alpha=0.5)
    """
    found: Weighting = (
        copy.deepcopy(spec) if isinstance(spec, Weighting) else build_known(WEIGHTINGS, "weighting", spec)
    )
    return found

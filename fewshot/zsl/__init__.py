"""Zero-shot learning without a joint model: from class attributes, or from any classifier and any text encoder."""

from __future__ import annotations

from fewshot.zsl.compatibility import ESZSL as ESZSL
from fewshot.zsl.compatibility import DeViSE as DeViSE
from fewshot.zsl.conse import conse as conse
from fewshot.zsl.generalised import Generalised as Generalised
from fewshot.zsl.generalised import generalised as generalised

__all__ = ["ESZSL", "DeViSE", "Generalised", "conse", "generalised"]

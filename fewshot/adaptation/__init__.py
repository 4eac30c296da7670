"""Domain adaptation of features: rows of a source domain made to serve a target domain whose labels are unknown."""

from __future__ import annotations

from fewshot.adaptation.adapter import AdaptationWarning, DomainAdapter
from fewshot.adaptation.choosing import Choice, choose_adapter, information, reverse_validation
from fewshot.adaptation.importance import importance_validation
from fewshot.adaptation.weighting import effective_sample_size

__all__ = [
    "AdaptationWarning", "Choice", "DomainAdapter", "choose_adapter", "effective_sample_size",
    "importance_validation", "information", "reverse_validation",
]  # fmt: skip

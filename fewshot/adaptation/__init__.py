"""Domain adaptation of features: rows of a source domain made to serve a target domain whose labels are unknown."""

from __future__ import annotations

from fewshot.adaptation.adapter import AdaptationWarning, DomainAdapter
from fewshot.adaptation.weighting import effective_sample_size

__all__ = ["AdaptationWarning", "DomainAdapter", "effective_sample_size"]

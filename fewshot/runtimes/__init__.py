"""Runtimes: how the processor at hand computes an encoder fastest without changing what its rows mean."""

from __future__ import annotations

from fewshot.runtimes.lower_precision import fastest_forward, known_forward

__all__ = ["fastest_forward", "known_forward"]

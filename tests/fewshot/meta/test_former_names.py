"""Names of version 0.1 still work, and warn."""

from __future__ import annotations

import pytest

import fewshot.meta.plan


def test_old_names_warn() -> None:
    with pytest.deprecated_call(match=r"fewshot\.meta\.plan\.Watch is now called Monitoring"):
        assert fewshot.meta.plan.Watch is fewshot.meta.plan.Monitoring

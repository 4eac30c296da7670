"""Names of version 0.1 still work, and warn."""

from __future__ import annotations

import pytest

import fewshot.meta.plan
import fewshot.meta.rows


def test_old_names_warn() -> None:
    with pytest.deprecated_call(match=r"fewshot\.meta\.plan\.Watch is now called Monitoring"):
        assert fewshot.meta.plan.Watch is fewshot.meta.plan.Monitoring
    with pytest.deprecated_call(match="device_of"):
        assert fewshot.meta.rows.place_of("cpu").type == "cpu"

"""Benchmark suites: tables of learners, encoders, datasets, ways and shots, written down in a TOML file.

A new suite is a file here, or anywhere; `fewshot benchmark` runs it.
"""

from __future__ import annotations

from fewshot.suites.reading import list_suites, load_suite
from fewshot.suites.running import run_suite
from fewshot.suites.suite import Dataset, Published, Suite
from fewshot.suites.tables import SuiteResults

__all__ = ["Dataset", "Published", "Suite", "SuiteResults", "list_suites", "load_suite", "run_suite"]

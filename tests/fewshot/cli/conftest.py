"""Fixtures of the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_examples import FAST, run


@pytest.fixture
def results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A file with the results of three learners."""
    path = str(tmp_path / "runs.jsonl")
    run(capsys, "evaluate", *FAST, "--learner", "prototypes", "nearest", "ridge", "--out", path)
    return path

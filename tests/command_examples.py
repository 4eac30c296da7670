"""Commands as users type them, run in this process."""

from __future__ import annotations

import pytest

from fewshot.cli import main

FAST = ["--data", "digits", "--episodes", "40", "--quiet"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Standard output of a command; with a failure code, its standard error."""
    assert main(list(arguments)) == code
    out, err = capsys.readouterr()
    if code == 0:
        assert not err or "--quiet" not in arguments, err
    return out if code == 0 else err

"""The same line of ``fewshot evaluate`` again: what is done is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_examples import FAST, run
from torch import Tensor

from episodes import evaluation_loop
from fewshot.cli import main


def test_the_same_line_skips_what_is_done(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "runs.jsonl"
    line = ["evaluate", *FAST, "--learner", "prototypes", "nearest", "--out", str(out)]
    first = run(capsys, *line)
    written = out.read_bytes()
    assert run(capsys, *line) == first
    assert out.read_bytes() == written


STOPPED = """
import signal, sys
from episodes import evaluation_loop
from fewshot.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background inherit that it is ignored
episodes, score = [], evaluation_loop.score
def stopped(cell, episode, targets):
    episodes.append(len(targets))
    if sum(episodes) > 1500:
        signal.raise_signal(signal.SIGINT)  # as by Ctrl-C
    return score(cell, episode, targets)
evaluation_loop.score = stopped
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_run_is_resumed_by_the_same_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "killed.jsonl", tmp_path / "whole.jsonl"
    line = ["evaluate", "--data", "digits", "--learner", "prototypes", "--shot", "5", "--episodes", "3000", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, *line, "--out", str(out)], stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 130 and b"1,024 episodes of the first are in" in done.stderr, done.stderr
    assert b"the same command resumes" in done.stderr
    assert [Path(name).suffix for name in os.listdir(tmp_path)] == [".partial"]
    assert main([*line, "--out", str(whole)]) == 0
    episodes, score = [], evaluation_loop.score

    def counted(cell: Any, episode: Any, targets: Tensor) -> Tensor:
        episodes.append(len(targets))
        return score(cell, episode, targets)

    monkeypatch.setattr(evaluation_loop, "score", counted)
    assert main([*line, "--out", str(out)]) == 0
    assert sum(episodes) == 3000 - 1024  # the first block was kept
    capsys.readouterr()
    a, b = (json.loads(path.read_text()) for path in (out, whole))
    assert a["correct"] == b["correct"]
    assert a["key"] == b["key"]
    assert sorted(os.listdir(tmp_path)) == [out.name, whole.name], "nothing begun is left"

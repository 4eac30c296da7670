"""``fewshot list``, and the table of learners in the documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_examples import run

from fewshot.cli.listing import KINDS


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Classifies by the nearest class mean" in run(capsys, "list", "learners")
    found = json.loads(run(capsys, "list", "--json"))
    assert all(summary for entries in found.values() for summary in entries.values()), found
    assert "last(k=1, " in run(capsys, "list", "strategies", "last")
    assert set(found) == set(KINDS)
    assert found["splits"]["cifar-fs"] == "64 train, 16 val, 20 test"
    assert all(summary for kind in found.values() for summary in kind.values()), "something has no description"


def test_the_table_of_learners_is_current() -> None:
    from fewshot.cli.learner_table import learner_table

    written = (Path(__file__).parents[3] / "docs" / "learners.md").read_text(encoding="utf-8")
    assert written.endswith(learner_table()), "run: fewshot list learners --markdown, and put it into docs/learners.md"

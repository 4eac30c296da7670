"""``fewshot compare``, and files of results that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_examples import run


def test_files_that_are_not_there_or_not_ours(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "there is no file" in run(capsys, "compare", str(tmp_path / "none.jsonl"), code=1)
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    assert "line 1: not a result of this library" in run(capsys, "compare", str(tmp_path / "other.jsonl"), code=2)
    assert "gone" in run(capsys, "evaluate", "--data", f"folder:{tmp_path / 'gone'}", code=1)


def test_compare(results: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "compare", results)
    assert "digits, 5-way 1-shot:" in out
    assert out.count("(Holm)") == 6
    out = run(capsys, "compare", results, "--reference", "ridge", "--json")
    assert [json.loads(line)["b"] for line in out.splitlines()] == ["ridge"] * 4
    assert "reference='x'" in run(capsys, "compare", results, "--reference", "x", code=2)


def test_a_file_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.jsonl").touch()
    for verb in ("compare", "report"):
        assert "r.jsonl holds no results; `fewshot evaluate --out" in run(
            capsys, verb, str(tmp_path / "r.jsonl"), code=2
        )

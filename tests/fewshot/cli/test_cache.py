"""``fewshot embed`` and ``fewshot cache``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_examples import run

from fewshot.cli import main


def test_embed_and_cache(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    where = ["--cache", cache]
    embed = ["embed", "--data", "digits", "--quiet", *where]
    assert "1,797 computed" in run(capsys, *embed)
    report = json.loads(run(capsys, *embed, "--json"))
    assert (report["hits"], report["computed"]) == (1797, 0)
    [space] = json.loads(run(capsys, "cache", "ls", "--json", *where))
    short = space["id"][:8]
    assert short in run(capsys, "cache", "ls", *where)
    assert '"family": "pixels"' in run(capsys, "cache", "info", short, *where)
    assert "all checksums are right" in run(capsys, "cache", "verify", *where)
    assert "1,797 rows" in run(capsys, "cache", "compact", short, *where)
    assert "wrote 1,797 rows" in run(capsys, "cache", "export", short, str(tmp_path / "rows.safetensors"), *where)
    assert "nothing to remove" in run(capsys, "cache", "prune", "--older-than", "30d", *where)
    assert "would remove" in run(capsys, "cache", "prune", "--max-bytes", "1KB", "--dry-run", *where)
    assert "removed" in run(capsys, "cache", "rm", short, *where)
    assert "0 spaces" in run(capsys, "cache", "ls", *where)
    assert "needs an ID" in run(capsys, "cache", "rm", *where, code=2)
    assert "0 spaces begin with" in run(capsys, "cache", "info", "abc", *where, code=2)


def test_damage_is_an_exit_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = ["--cache", str(tmp_path)]
    run(capsys, "embed", "--data", "digits", "--quiet", *where)
    [segment] = tmp_path.glob("v1/*/*.safetensors")
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    assert main(["cache", "verify", *where]) == 1
    assert "set aside" in capsys.readouterr().out

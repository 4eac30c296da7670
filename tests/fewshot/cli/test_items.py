"""Items that commands leave out: damaged ones where that is asked for, and hidden files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from input_examples import colour
from PIL import Image

from fewshot.cli import main


def test_the_command_line_skips_damaged_items(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for name in ("owl", "crow"):
        for number in range(6):
            path = tmp_path / "birds" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)
    path.write_bytes(b"torn")
    command = ["evaluate", "--data", f"folder:{tmp_path / 'birds'}", "--encoder", "pixels(size=4)", "--way", "2",
               "--shot", "1", "--query", "2", "--episodes", "2", "--cache", str(tmp_path / "cache")]  # fmt: skip
    assert main(command) != 0
    assert main([*command, "--skip-damaged"]) == 0
    assert "1 damaged ones left out" in capsys.readouterr().err


def test_classify_leaves_hidden_files_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "._a.png", ".ipynb_checkpoints/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(colour(255, 0, 0)).save(tmp_path / name, "PNG")
    command = ["classify", str(tmp_path), "--classes", "red", "blue", "--encoder", "fewshot:tiny-clip"]
    assert main([*command, "--cache", str(tmp_path / "cache"), "--quiet"]) == 0
    assert capsys.readouterr().out.count(".png") == 1

"""Python blocks of the documents in docs/ run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = {
    path: re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
    for path in sorted((ROOT / "docs").glob("*.md"))
}


def test_there_are_blocks() -> None:
    assert sum(map(bool, BLOCKS.values())) >= 2


@pytest.mark.parametrize("path", [path for path, blocks in BLOCKS.items() if blocks], ids=lambda path: path.stem)
def test_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem == "export":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    if path.stem == "sounds_and_other_rows":
        pytest.importorskip("soundfile")
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {"__name__": "docs"}
    for block in BLOCKS[path]:
        if "timm:" in block:
            pytest.skip("downloads a network and runs for minutes; its parts are tested in tests/fewshot/transfer")
        exec(compile(block, path.name, "exec"), space)

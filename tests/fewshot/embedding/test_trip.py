"""The trip of a photograph through `predict`, as CONTRIBUTING.md has it: modules in one order, each calling lower ones."""

from __future__ import annotations

import ast
import re
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

import fewshot

ROOT = Path(__file__).parents[3]
TRIP = re.findall(r"^\d+\. `(\S+\.py)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M)


def imports(path: str) -> set[str]:
    """Files of the trip that a file imports, anywhere."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found |= {f"{name.replace('.', '/')}.py" for name in names}
    return found & set(TRIP)


def test_each_module_imports_only_lower_ones() -> None:
    assert len(TRIP) == 12
    for number, path in enumerate(TRIP):
        higher = imports(path) & set(TRIP[:number])
        assert not higher, f"{path} imports {higher}, which the list has above it"
    assert imports(TRIP[3]) and imports(TRIP[4]), "the imports were read"


def test_the_package_of_embedding_is_small() -> None:
    files = sorted(path.name for path in (ROOT / "fewshot" / "embedding").glob("*.py"))
    assert len(files) <= 13, files


def test_photographs_visit_every_module(tmp_path: Path) -> None:
    from fewshot import FewShotClassifier

    pictures = [np.full((8, 8, 3), shade, np.uint8) for shade in (0, 250, 10)]
    more = [np.full((8, 8, 3), shade, np.uint8) for shade in (20, 30, 40)]
    model = FewShotClassifier(encoder="pixels(size=4)", cache=tmp_path, device="cpu").fit(
        pictures[:2], ["dark", "light"]
    )
    visited: list[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            visited.append(frame.f_code.co_filename)

    threading.setprofile(note)  # decoding and writing have threads of their own
    sys.setprofile(note)
    try:
        assert len(model.predict([*pictures, *more])) == 6
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    installed = Path(fewshot.__file__).parents[1]  # beside the tests, or where the package was installed
    seen = {Path(name).relative_to(installed).as_posix() for name in set(visited) if name.startswith(str(installed))}
    assert set(TRIP) <= seen, set(TRIP) - seen
    inside = {name for name in seen if name.startswith("fewshot/embedding/")}
    assert inside <= set(TRIP), f"{inside - set(TRIP)} took part, but the list leaves it out"

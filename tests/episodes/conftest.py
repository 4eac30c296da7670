"""Fixtures of the tests of `episodes`."""

from __future__ import annotations

from pathlib import Path

import pytest
from picture_examples import save


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of four pictures of each of three classes, one of them in a folder of a folder."""
    for name in ("owl", "crow", "sea/gull"):
        for number in range(4):
            save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"

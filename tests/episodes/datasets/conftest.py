"""Fixtures of the tests of datasets: stand-ins in the layout of the real files."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand_ins import write_cifar


@pytest.fixture
def cifar_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three training pictures and one test picture of each class, in torchvision's own format."""
    write_cifar(tmp_path, monkeypatch)
    return tmp_path

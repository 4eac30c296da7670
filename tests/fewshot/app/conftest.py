"""Fixtures of the tests of the app."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from episodes import load_dataset


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, list[str]]:
    """Files of two colours of the ground."""
    source = load_dataset("scenes:background", count=120)
    files: dict[str, list[str]] = {source.class_names[label]: [] for label in source.labels.tolist()[:2]}
    for row, label in zip(source.features.permute(0, 2, 3, 1).numpy(), source.labels.tolist(), strict=True):
        name = source.class_names[label]
        if name in files and len(files[name]) < 4:
            path = tmp_path / f"{name}{len(files[name])}.png"
            Image.fromarray(row).save(path)
            files[name].append(str(path))
    return files

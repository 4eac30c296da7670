"""Fixtures that every test may use."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # as `make test` has it, also where it is not made: tests are thousands of tiny products
LONGEST = ("test_site.py", "test_notebooks.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no worker waits for it at the end, and one builds the site for all."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data and weights that lie beside the checkout; tests that need them skip elsewhere."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data folder shared/data beside the checkout")
    return folder


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's own embedding cache."""
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path_factory.getbasetemp() / "fewshot-cache"))


@pytest.fixture(autouse=True)
def _own_log_levels() -> Iterator[None]:
    """What one test tells the command line about its log (``--quiet``) does not reach the next."""
    loggers = [logging.getLogger(name) for name in ("episodes", "fewshot")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh source of random numbers, the same in every test."""
    return torch.Generator().manual_seed(0)

"""Fixtures of the tests of runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from embedding_examples import write_photographs
from onnx_examples import exported
from torch import nn

from fewshot.runtimes import choosing, onnx_runtime

export = onnx_runtime.converted


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eleven picture files of several kinds."""
    return write_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that were exported in a test; the same network is really exported once for all of them."""
    asked: list[str] = []

    def converted(module: nn.Module, arguments: Any, **given: Any) -> bytes:
        asked.append(given["part"])
        key = onnx_runtime.digest(module.state_dict()), *(tuple(tensor.shape[1:]) for tensor in arguments)
        if key not in exported:
            exported[key] = export(module, arguments, **given)
        return exported[key]

    monkeypatch.setattr(onnx_runtime, "converted", converted)
    monkeypatch.setattr(onnx_runtime, "_sessions", type(onnx_runtime._sessions)())
    monkeypatch.setattr(choosing, "_faster", {})
    return asked

"""torch.compile as a runtime: the rows of torch, or torch itself where nothing can be compiled."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fewshot import embed
from fewshot.encoders import ModuleEncoder
from fewshot.runtimes import compiled


class Small(nn.Module):
    """One product and no more: what compiles in seconds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(12, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))  # type: ignore[no-any-return]


ROWS = torch.rand(9, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def test_rows_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = torch.compile
    # The whole road but for the generation of code, which takes a minute on a processor.
    monkeypatch.setattr(torch, "compile", lambda module, **given: compile_(module, backend="aot_eager", **given))
    model = ModuleEncoder(Small().eval())
    true = embed(ROWS, model, cache=False, device="cpu", runtime="torch")
    for size in (1, 4):
        found = embed(ROWS, model, cache=False, device="cpu", runtime="compile", batch_size=size)
        assert found.report["runtime"] == "compile"
        torch.testing.assert_close(found.features, true.features, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        model.module.linear.weight.mul_(-3)
    after = embed(ROWS, model, cache=False, device="cpu", runtime="compile").features
    expected = embed(ROWS, model, cache=False, device="cpu", runtime="torch").features
    torch.testing.assert_close(after, expected, rtol=1e-3, atol=1e-3)


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def no_compiler(module: Any, **given: Any) -> Any:
        def run(*tensors: Tensor) -> Tensor:
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found in cpp.cxx: (None, 'g++')")

        return run

    monkeypatch.setattr(compiled.torch, "compile", no_compiler)
    with caplog.at_level(logging.WARNING, "fewshot"):
        source = embed(ROWS, ModuleEncoder(Small().eval()), cache=False, device="cpu", runtime="compile")
    assert source.report["runtime"] == "torch" and source.features.isfinite().all()
    assert "not by runtime='compile'" in caplog.text
    assert "No working C++ compiler" in caplog.text and "such as g++?" in caplog.text

"""What ONNX Runtime cannot compute is said, and torch computes it."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from embedding_examples import Reader
from onnx_examples import TEXTS, Plain, as_in_a_new_process, exported, plain
from torch import Tensor

from fewshot import EmbeddingCache, embed
from fewshot.encoders import ModuleEncoder, Preprocess
from fewshot.runtimes import choosing, onnx_runtime

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.usefixtures("exports")


class Branching(Plain):
    """It looks at its values, which no graph can."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if float(images.sum()) > 0 else -images)


class TestTheSlowerRoad:
    """What cannot be had is said, and torch computes."""

    def check(self, caplog: pytest.LogCaptureFixture, items: Any, model: Any, *words: str, **given: Any) -> None:
        caplog.clear()
        given = {"cache": False, "device": "cpu", "progress": False, **given}
        with caplog.at_level(logging.WARNING, "fewshot"):
            source = embed(items, model, runtime="onnx", **given)
        assert source.report["runtime"] == "torch" and source.report["computed"] == len(items)
        assert "is computed by torch, not by runtime='onnx'" in caplog.text
        for part in words:
            assert part in caplog.text

    def test_a_model_that_does_not_export(
        self, photographs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, exports: list[str],
        capfd: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        model = ModuleEncoder(Branching(5).eval(), Preprocess(16, 18))
        self.check(caplog, photographs[:3], model, "its network does not become a graph", cache=tmp_path)
        assert "def forward" not in "".join(capfd.readouterr()), "torch prints the graph that it could not capture"
        self.check(caplog, photographs[3:], model, "as found before", ".refused to try again", cache=tmp_path)
        assert len(exports) == 1

    def test_an_opset_that_the_installed_runtime_does_not_read(
        self, photographs: list[Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        onnx = pytest.importorskip("onnx")
        converted = onnx_runtime.converted

        def unreadable(*given: Any, **more: Any) -> bytes:
            graph = onnx.load_from_string(converted(*given, **more))
            graph.opset_import[0].version = 9_999
            return graph.SerializeToString()  # type: ignore[no-any-return]

        monkeypatch.setattr(onnx_runtime, "converted", unreadable)
        self.check(caplog, photographs, plain(), "does not read the graph, of opset", "install another release")

    @pytest.mark.parametrize("missing", ["onnxruntime", "onnxscript"])
    def test_nothing_to_export_or_run_with(
        self, missing: str, photographs: list[Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, missing, None)
        self.check(caplog, photographs, plain(), f"runtime='onnx' needs {missing}", 'pip install "fewshot[onnx]"')

    def test_encoders_without_a_network(self, caplog: pytest.LogCaptureFixture, photographs: list[Path]) -> None:
        self.check(caplog, TEXTS, Reader(), "it has no network (module=None)")
        self.check(caplog, photographs, "pixels(size=8)", "it has no network (module=None)")

    def test_precisions_that_it_lacks(self, photographs: list[Path], caplog: pytest.LogCaptureFixture) -> None:
        self.check(caplog, photographs, plain(), "ONNX Runtime computes in float32", precision="bfloat16")

    def test_a_damaged_export_is_exported_again(
        self, photographs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, exports: list[str]
    ) -> None:
        embed(photographs[:2], plain(), cache=tmp_path, runtime="onnx", device="cpu")
        (info,) = EmbeddingCache(tmp_path).exports.ls()
        info.path.write_bytes(info.path.read_bytes()[:-40])
        as_in_a_new_process()
        with caplog.at_level(logging.WARNING, "fewshot"):
            source = embed(photographs, plain(), cache=tmp_path, runtime="onnx", device="cpu")
        assert source.report["runtime"] == "onnx" and len(exports) == 2
        assert "damaged" in caplog.text and "exported again" in caplog.text
        assert EmbeddingCache(tmp_path).exports.read(info.key) is not None

    @pytest.mark.parametrize("content", ["another network", "no graph"])
    def test_what_computes_something_else_is_not_used(
        self, content: str, photographs: list[Path], tmp_path: Path, exports: list[str]
    ) -> None:
        embed(photographs[:2], plain(), cache=tmp_path, runtime="onnx", device="cpu")
        embed(photographs[:2], plain(1), cache=tmp_path, runtime="onnx", device="cpu")
        store = EmbeddingCache(tmp_path).exports
        first, second = (info.key for info in sorted(store.ls(), key=lambda info: info.last_used))
        store.keep(first, store.read(second) or b"" if content == "another network" else b"no graph")
        as_in_a_new_process()
        again = embed(photographs, plain(), cache=tmp_path, runtime="onnx", device="cpu")
        true = embed(photographs, plain(), cache=False, runtime="torch", device="cpu")
        torch.testing.assert_close(again.features, true.features, rtol=1e-3, atol=1e-4)
        assert len(exports) == 3, "it was exported again"

    def test_a_wrong_export_is_refused(
        self, photographs: list[Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        embed(photographs[:1], plain(1), cache=False, runtime="onnx", device="cpu")
        wrong = list(exported.values())[-1]
        monkeypatch.setattr(onnx_runtime, "converted", lambda *given, **more: wrong)
        self.check(caplog, photographs, plain(2), "computes something else than torch", "a cosine of")

    def test_a_batch_that_fails(
        self, photographs: list[Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        computation = choosing.onnx_computation

        def failing(*given: Any) -> Any:
            def run(*tensors: Tensor) -> Tensor:
                raise RuntimeError("no such kernel")

            return replace(computation(*given), run=run)

        monkeypatch.setattr(choosing, "onnx_computation", failing)
        true = embed(photographs, plain(), cache=False, device="cpu")
        with caplog.at_level(logging.WARNING, "fewshot"):
            source = embed(photographs, plain(), cache=False, runtime="onnx", device="cpu")
        assert "no such kernel" in caplog.text and "torch goes on" in caplog.text
        assert torch.equal(source.features, true.features)
        with pytest.raises(RuntimeError, match=r"space of their own; embed with runtime='torch'"):
            embed(photographs, plain(), cache=False, runtime="onnx", device="cpu", storage="float32")

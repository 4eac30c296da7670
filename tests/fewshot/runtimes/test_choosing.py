"""`runtime="auto"`, and the runtime that a spec or `embed` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedding_examples import Reader
from onnx_examples import TEXTS, plain

from fewshot import embed, load_encoder
from fewshot.runtimes import choosing, onnx_runtime

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.usefixtures("exports")


class TestAuto:
    """ONNX Runtime only where it is measured faster, and where the rows pay for the export."""

    rows = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (70, 20, 20, 3), dtype=np.uint8)).numpy()

    @pytest.fixture(autouse=True)
    def large(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
        """Any network counts as large and as one of convolutions; times are what a test says."""
        times = {"torch": 1.0, "onnx": 0.5}
        monkeypatch.setattr(choosing, "is_large", lambda module: True)
        monkeypatch.setattr(choosing, "gains_by_channels_last", lambda module: True)
        monkeypatch.setattr(choosing, "_seconds", lambda forward, items: times[forward.runtime])
        return times

    def runtime(self, cache: Any, rows: Any = None, **given: Any) -> str:
        source = embed(list(self.rows if rows is None else rows), plain(), cache=cache, device="cpu", **given)
        return str(source.report["runtime"])

    def test_exports_where_the_rows_pay_for_it(
        self, tmp_path: Path, large: dict[str, float], exports: list[str]
    ) -> None:
        pays = choosing.EXPORT_SECONDS / choosing.SAVED / 70
        large["torch"] = 0.95 * pays  # what 70 rows would save is less than an export
        assert self.runtime(tmp_path / "a") == "torch" and not exports
        large["torch"] = 1.05 * pays
        assert self.runtime(tmp_path / "b") == "onnx" and len(exports) == 1

    def test_uses_what_is_exported_where_it_is_faster(
        self, tmp_path: Path, large: dict[str, float], exports: list[str]
    ) -> None:
        embed(list(self.rows[:1]), plain(), cache=tmp_path, runtime="onnx", device="cpu")
        large.update(torch=1e-3, onnx=0.8e-3)
        assert self.runtime(tmp_path, self.rows[:20]) == "torch", "so few rows are not worth a look"
        assert self.runtime(tmp_path, storage="float32") == "torch", "every bit is torch's"
        large["onnx"] = 0.95e-3
        assert self.runtime(tmp_path, 255 - self.rows) == "torch"
        choosing._faster.clear()
        large["onnx"] = 0.8e-3
        assert self.runtime(tmp_path, self.rows // 2) == "onnx" and len(exports) == 1
        assert self.runtime(tmp_path, self.rows // 2) == "torch", "there is nothing to compute"
        large["onnx"] = 2e-3
        assert self.runtime(tmp_path, self.rows // 5) == "onnx", "it is timed once in a process"

    def test_goes_on_where_nothing_can_be_exported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(choosing, "EXPORT_SECONDS", 0.0)
        asked: list[int] = []

        def refused(*given: Any, **more: Any) -> bytes:
            asked.append(1)
            raise ValueError("its network does not become a graph: for a reason")

        monkeypatch.setattr(onnx_runtime, "converted", refused)
        assert [self.runtime(tmp_path, self.rows // number) for number in (1, 2)] == ["torch"] * 2
        choosing._faster.clear()  # as in a new process
        assert self.runtime(tmp_path, self.rows // 3) == "torch"
        assert len(asked) == 1, "the reason is kept with the cache"

    @pytest.mark.parametrize("name", ["torch", "onnx"])
    def test_the_spec_of_an_encoder_decides_where_embed_is_not_told(self, name: str, tmp_path: Path) -> None:
        model = plain()
        model.runtime = name
        assert embed(list(self.rows[:3]), model, cache=tmp_path, device="cpu").report["runtime"] == name


def test_the_spec_of_every_encoder_takes_it() -> None:
    assert load_encoder("pixels(size=8, runtime='torch')").runtime == "torch"
    assert load_encoder("pixels(size=8)").runtime == "auto"
    with pytest.raises(ValueError, match=r"runtime='tensorrt' in .*auto, torch, compile, onnx"):
        load_encoder("pixels(size=8, runtime='tensorrt')")
    with pytest.raises(ValueError, match=r"runtime='fast'; it must be one of auto, torch, compile, onnx"):
        embed(TEXTS, Reader(), cache=False, runtime="fast")

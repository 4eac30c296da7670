"""``decoding="device"``: rows near Pillow's in a space of their own, and what torchvision does not read by Pillow."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_examples import jpeg, photograph
from PIL import Image
from torch import Tensor, nn

from fewshot import FewShotClassifier, embed, load_encoder
from fewshot.cache import EmbeddingCache, StaleCacheError
from fewshot.embedding import lanes
from fewshot.embedding.auditing import audit
from fewshot.embedding.embed_dataset import embed_few
from fewshot.embedding.settings import Settings
from fewshot.embedding.workers import Job, Task, fill_task
from fewshot.encoders import Encoder, ModuleEncoder, Preprocess, device_decoding

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities:DeprecationWarning")


class Grid(nn.Module):
    """Colours of a 4 x 4 grid as features."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)


def model(decoding: str, transform: Any = None) -> Encoder:
    encoder = ModuleEncoder(Grid(), transform or Preprocess(28, 32), version="1")
    encoder.decoding = decoding
    return encoder


def rows(dataset: Any, encoder: Any, cache: Any = False, **given: Any) -> Any:
    return embed(dataset, encoder, cache=cache, **{"device": "cpu", "storage": "float32", "progress": False, **given})


@pytest.fixture
def mixed(tmp_path: Path) -> list[Path]:
    """Of everything that lies in folders: JPEGs of three sizes, turned, progressive, grey, CMYK, large; PNGs."""
    exif = Image.Exif()
    exif[0x0112] = 6
    contents = [jpeg(photograph(*[(60, 45), (45, 60), (50, 50)][number % 3], seed=number)) for number in range(12)]
    contents += [
        jpeg(photograph(70, 50, 20), exif=exif), jpeg(photograph(70, 50, 21), progressive=True),
        jpeg(photograph(70, 50, 22).convert("L")), jpeg(photograph(70, 50, 23).convert("CMYK")),
        jpeg(photograph(800, 600, 24)),
    ]  # fmt: skip
    folder = tmp_path / "mixed"
    folder.mkdir()
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"{number:02}.jpg")
        paths[-1].write_bytes(content)
    for number in (30, 31):
        paths.append(folder / f"{number}.png")
        photograph(40, 30, number).save(paths[-1])
    return paths


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batched", [False, True])
def test_rows_of_a_mixed_folder(
    mixed: list[Path], threads: int, batched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if batched:  # the road of GPUs, with the decoder of a CPU
        monkeypatch.setattr(device_decoding, "BATCHED", ("cpu",))
        monkeypatch.setattr(lanes, "has_lanes", lambda *given: False)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        true = rows(mixed, model("full")).features
        found = rows(mixed, model("device"), batch_size=5, workers=3).features
        for few in (1, 3):
            torch.testing.assert_close(rows(mixed[:few], model("device")).features, found[:few], rtol=0, atol=1e-6)
    finally:
        torch.set_num_threads(before)
    assert torch.cosine_similarity(found, true).min() > 0.9999
    assert (found - true).abs().max() < 0.01 and not torch.equal(found, true)
    others = [14, 15, 17, 18]  # grey, CMYK, PNG
    assert torch.equal(found[others], true[others]), "Pillow decodes them"


def test_rows_of_a_real_network(tmp_path: Path) -> None:
    paths = []
    for seed in range(8):
        paths.append(tmp_path / f"{seed}.jpg")
        paths[-1].write_bytes(jpeg(photograph(90 + 10 * seed, 100, seed)))
    true, found = (rows(paths, load_encoder(f"fewshot:tiny-clip(decoding={how!r})")) for how in ("full", "device"))
    assert torch.cosine_similarity(true.features, found.features).min() > 0.999


def test_a_space_of_its_own_that_is_found_again(mixed: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = {how: rows(mixed, model(how), cache) for how in ("reduced", "full", "device")}
    assert first["reduced"].report["space"] == first["full"].report["space"] != first["device"].report["space"]
    assert first["device"].report["computed"] == len(mixed)
    assert len({source.fingerprint() for source in first.values()}) == 3
    for how, source in first.items():
        again = rows(mixed, model(how), cache)
        assert again.report["computed"] == 0 and torch.equal(again.features, source.features)
    checked = audit(mixed, model("device"), cache=cache, device="cpu", storage="float32")
    assert checked.compared == len(mixed) and not checked.wrong
    said = [info.spec.get("decoding") for info in EmbeddingCache(cache).ls()]
    assert sorted(said, key=str) == [None, "torchvision cpu"]


def test_it_resumes(mixed: list[Path], tmp_path: Path) -> None:
    rows(mixed[:7], model("device"), tmp_path)
    source = rows(mixed, model("device"), tmp_path)
    assert (source.report["hits"], source.report["computed"]) == (7, len(mixed) - 7)


def test_damaged_files_are_named_as_ever(mixed: list[Path]) -> None:
    mixed[3].write_bytes(b"no picture")
    mixed[5].write_bytes(mixed[5].read_bytes()[:-400])
    skipped = [rows(mixed, model(how), on_error="skip").report["skipped"] for how in ("full", "device")]
    assert [entry["row"] for entry in skipped[1]] == [3, 5] and skipped[0] == skipped[1]
    with pytest.raises(ValueError, match=r"03\.jpg"):
        rows(mixed, model("device"))


def test_pillow_decodes_what_torchvision_refuses(mixed: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    true = rows(mixed, model("full")).features
    decode, content = device_decoding._decode, mixed[4].read_bytes()

    def refuses(given: Sequence[bytes], device: torch.device) -> list[Tensor]:
        if content in given:
            raise RuntimeError("nvjpegDecode failed")
        return decode(given, device)

    monkeypatch.setattr(device_decoding, "_decode", refuses)
    found = rows(mixed, model("device")).features
    assert torch.equal(found[4], true[4]) and not torch.equal(found[3], true[3])


def test_a_few_are_embedded_as_many_are(mixed: list[Path]) -> None:
    from episodes.any_source import as_source

    encoder = model("device")
    found = embed_few(as_source(mixed[:3], encoder), encoder, "cpu")
    torch.testing.assert_close(found, rows(mixed, encoder).features[:3], rtol=0, atol=1e-3)
    labels = ["a", "b"] * (len(mixed) // 2)
    fitted = FewShotClassifier(encoder, cache=False, device="cpu").fit(mixed[: len(labels)], labels)
    assert len(fitted.predict(mixed[:2])) == 2


class TestWhereItCannotBeHad:
    """Rows are those of decoding="full", in its space."""

    @pytest.mark.parametrize("transform", [Preprocess(28, 32, interpolation="lanczos"), None])
    def test_a_transform_of_another_kind(self, mixed: list[Path], tmp_path: Path, transform: Any) -> None:
        class Mine(Preprocess):
            pass

        transform = transform or Mine(28, 32)
        true = rows(mixed, model("full", transform), tmp_path)
        found = rows(mixed, model("device", transform), tmp_path)
        assert found.report["hits"] == len(mixed) and found.report["space"] == true.report["space"]

    def test_views(self, mixed: list[Path], tmp_path: Path) -> None:
        true = rows(mixed, model("full"), tmp_path, views=2)
        assert rows(mixed, model("device"), tmp_path, views=2).report["space"] == true.report["space"]

    def test_no_images_in_torchvision(
        self, mixed: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        true = rows(mixed, model("full"), tmp_path)

        def missing(given: Any, device: Any) -> Any:
            raise RuntimeError("Couldn't load the image extension.")

        monkeypatch.setattr(device_decoding, "_decode", missing)
        device_decoding._try.cache_clear()
        device_decoding._say.cache_clear()
        with caplog.at_level(logging.WARNING, "fewshot"):
            assert rows(mixed, model("device"), tmp_path).report["space"] == true.report["space"]
        assert "Pillow decodes at full size" in caplog.text and "image extension" in caplog.text


def test_a_decoder_that_changed_is_noticed(mixed: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows(mixed[:5], model("device"), tmp_path)
    decode = device_decoding._decode
    monkeypatch.setattr("fewshot.embedding.canary._checked", set())  # as in a new process
    monkeypatch.setattr(
        device_decoding, "_decode", lambda given, on: [picture.flip(-1) for picture in decode(given, on)]
    )
    with pytest.raises(StaleCacheError, match="decoder"):
        rows(mixed, model("device"), tmp_path)
    assert rows(mixed, model("full"), tmp_path).report["computed"] == len(mixed), (
        "Pillow's rows have nothing to do with it"
    )


def test_a_worker_with_another_decoder_is_refused(mixed: list[Path], tmp_path: Path) -> None:
    spec = {"encoder": model("device").fingerprint, "kind": "images", "precision": "float32", "dim": 48,
            "storage": "float32", "augment": None}  # fmt: skip
    settings = Settings(device="cpu", storage="float32")
    from episodes.any_source import as_source

    task = Task(0, 4, as_source(mixed[:4], model("full")))  # type: ignore[arg-type]
    for how, said in (("device", None), ("full", "torchvision cpu"), ("device", "torchvision cuda")):
        more = {} if said is None else {"decoding": said}
        with pytest.raises(RuntimeError, match="decoded by"):
            fill_task(Job(model(how), None, str(tmp_path), {**spec, **more}, settings), task)
    job = Job(model("device"), None, str(tmp_path), {**spec, "decoding": "torchvision cpu"}, settings)
    assert fill_task(job, task).computed == 4
    source = rows(mixed[:4], model("device"), tmp_path, engine=1)
    assert source.report["hits"] == 4, "the space of a caller here"


def test_texts_and_arrays_have_the_spaces_they_had(tmp_path: Path) -> None:
    texts = ["a red circle", "a blue square"]
    spaces = {rows(texts, load_encoder(f"fewshot:tiny-clip(decoding={how!r})"), tmp_path).report["space"]
              for how in ("reduced", "device")}  # fmt: skip
    assert len(spaces) == 1
    arrays = np.zeros((3, 40, 40, 3), np.uint8)
    true, found = (rows(arrays, model(how)).features for how in ("full", "device"))
    assert torch.equal(true, found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu(mixed: list[Path], tmp_path: Path) -> None:
    true = rows(mixed, model("full"), tmp_path, device="cuda", precision="float32").features
    found = rows(mixed, model("device"), tmp_path, device="cuda", precision="float32")
    assert found.report["computed"] == len(mixed)
    assert torch.cosine_similarity(found.features, true).min() > 0.999
    again = rows(mixed * 9, model("device"), device="cuda", precision="float32", batch_size=7).features
    torch.testing.assert_close(again[: len(mixed)], found.features, rtol=1e-4, atol=1e-4)
    here = rows(mixed, model("device"), tmp_path, precision="float32")
    assert here.report["computed"] == len(mixed) and here.report["space"] != found.report["space"]

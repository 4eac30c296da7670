"""bfloat16 and channels last: only where rows stay what they were, and never in place of rows that are cached."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from embedding_examples import encoder, write_photographs
from torch import Tensor, nn

from episodes.device import has_bfloat16
from fewshot import EmbeddingCache, embed
from fewshot.embedding.forward import Forward, gains_by_channels_last
from fewshot.encoders import ModuleEncoder, Preprocess
from fewshot.runtimes import lower_precision

CPU = torch.device("cpu")


class Wide(nn.Module):
    """Two million weights; features that stand on an offset, which costs bfloat16 the digits below it."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.offset = nn.Linear(768, 2700), offset

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.relu(self.linear(images.flatten(1)) + self.offset) - self.offset


class Convolved(nn.Module):
    """Two million weights of convolutions; `viewed` needs the channels first."""

    def __init__(self, viewed: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.viewed = nn.Sequential(nn.Conv2d(3, 64, 3, 4), nn.Conv2d(64, 3600, 3)), viewed
        self.seen: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.is_contiguous(memory_format=torch.channels_last))
        maps = self.body(images)
        return maps.view(len(maps), -1) if self.viewed else maps.flatten(1)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower_precision, "has_bfloat16", lambda: True)


def wide(offset: float = 0.0) -> ModuleEncoder:
    return ModuleEncoder(Wide(offset), Preprocess(16, 18))


def test_torch_says_whether_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for amx, avx, expected in ((True, False, True), (False, True, True), (False, False, False)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx, raising=False)
        assert has_bfloat16.__wrapped__() is expected
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert has_bfloat16.__wrapped__() is False


@pytest.mark.usefixtures("native")
class TestAuto:
    def test_is_bfloat16_where_rows_stay_near(self, photographs: list[Path], tmp_path: Path) -> None:
        fast = embed(photographs, wide(), cache=tmp_path, device="cpu")
        assert fast.report["precision"] == "bfloat16"
        exact = embed(photographs, wide(), cache=False, device="cpu", precision="float32")
        assert torch.cosine_similarity(fast.features, exact.features).min() > 0.9999
        assert fast.report["space"] != exact.report["space"]
        again = embed(photographs, wide(), cache=tmp_path, device="cpu")
        assert (again.report["hits"], again.report["computed"]) == (11, 0)
        assert len(EmbeddingCache(tmp_path).ls()) == 1, "no empty space of the other precision is left"

    def test_is_float32_with_a_note_where_they_do_not(
        self, photographs: list[Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "fewshot"):
            source = embed(photographs, wide(100.0), cache=False, device="cpu")
        assert source.report["precision"] == "float32"
        assert "precision='bfloat16' computes in bfloat16 all the same" in caplog.text
        assert embed(photographs, wide(100.0), cache=False, precision="bfloat16").report["precision"] == "bfloat16"

    def test_cached_rows_are_not_computed_again_in_another_precision(
        self, photographs: list[Path], tmp_path: Path
    ) -> None:
        embed(photographs[:3], wide(), cache=tmp_path, device="cpu", precision="float32")
        more = embed(photographs, wide(), cache=tmp_path, device="cpu")
        assert (more.report["precision"], more.report["hits"], more.report["computed"]) == ("float32", 3, 8)
        assert embed(photographs[5:], wide(), cache=tmp_path, device="cpu").report["hits"] == 6

    def test_is_float32_for_small_networks_and_inputs_of_unknown_size(self, photographs: list[Path]) -> None:
        assert embed(photographs, encoder(), cache=False, device="cpu").report["precision"] == "float32"
        rows = embed(torch.rand(3, 3, 16, 16), ModuleEncoder(Wide()), cache=False, device="cpu")
        assert rows.report["precision"] == "float32"


def test_auto_is_float32_without_native_bfloat16(photographs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower_precision, "has_bfloat16", lambda: False)
    assert embed(photographs, wide(), cache=False, device="cpu").report["precision"] == "float32"


class TestChannelsLast:
    def test_is_for_large_networks_of_convolutions(self) -> None:
        assert gains_by_channels_last(Convolved(False))
        assert not gains_by_channels_last(Wide()) and not gains_by_channels_last(nn.Conv2d(3, 8, 3))
        assert not gains_by_channels_last(None)

    @pytest.mark.parametrize("given", ["uint8", "float32"])
    @pytest.mark.parametrize("viewed", [False, True])
    def test_gives_the_rows_of_channels_first(self, viewed: bool, given: str, generator: torch.Generator) -> None:
        transform = Preprocess(16, 18, (0.5,) * 3, (0.2,) * 3)
        pixels = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=generator)
        net = Convolved(viewed)
        model: Any = ModuleEncoder(net, transform)
        forward = Forward(model, CPU, "float32", torch.float32)
        rows = forward(pixels if given == "uint8" else transform.normalised(pixels))
        assert net.seen == ([True, False] if viewed else [True])
        expected = model.encode_images(transform.normalised(pixels)).detach()
        torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-5)

    def test_an_error_of_the_network_is_still_named(self) -> None:
        forward = Forward(ModuleEncoder(Convolved(False)), CPU, "float32", torch.float32)
        with pytest.raises(RuntimeError, match=r"cannot encode a batch \[2, 1, 16, 16\]"):
            forward(torch.rand(2, 1, 16, 16))


def test_bfloat16_without_native_bfloat16_is_said_to_be_slower(
    photographs: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lower_precision, "has_bfloat16", lambda: False)
    with caplog.at_level(logging.WARNING, "fewshot"):
        source = embed(photographs, encoder(), cache=False, device="cpu", precision="bfloat16")
    assert source.report["precision"] == "bfloat16"
    assert "slower than precision='float32'" in caplog.text

"""Torchvision's decoders: the pixels that Pillow and `Preprocess` make, up to rounding, and what is left to Pillow."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from picture_examples import jpeg, photograph
from PIL import Image
from torch import Tensor

from episodes.pictures import decode_picture
from fewshot.encoders import Pixels, Preprocess, device_decoding
from fewshot.encoders.device_decoding import DeviceDecoder, device_decoder, why_not

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities:DeprecationWarning")
CPU = torch.device("cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def turned(image: Image.Image, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(image, exif=exif, **options)


def decoded(decoder: DeviceDecoder, files: Sequence[bytes]) -> list[Tensor | None]:
    found: dict[int, Tensor] = {}
    for numbers, pixels in decoder(dict(enumerate(files))):
        found.update(zip(numbers, pixels, strict=True))
    decoder.settled()
    return [found.get(number) for number in range(len(files))]


@pytest.fixture(params=[CPU, pytest.param(torch.device("cuda"), marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no GPU"))])  # fmt: skip
def device(request: pytest.FixtureRequest) -> torch.device:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("method", device_decoding.METHODS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "transform", [Preprocess(28, 32), Preprocess(27, 32), Preprocess(40, None), Preprocess(40, 32)]
)
def test_the_pixels_of_pillow(transform: Preprocess, orientation: int, method: str, device: torch.device) -> None:
    transform = Preprocess(transform.size, transform.resize, MEAN, STD, method)
    files = [turned(photograph(*size), orientation) for size in ((51, 38), (38, 67), (130, 90))]
    for data, pixels in zip(files, decoded(DeviceDecoder(transform, device), files), strict=True):
        assert pixels is not None and pixels.dtype == torch.uint8 and pixels.device.type == device.type
        wrong = (pixels.cpu().int() - transform.pixels(decode_picture(data)).int()).abs()
        assert wrong.max() <= (3 if device.type == "cpu" else 12) and wrong.float().mean() < 0.5


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"restart_marker_rows": 1}]
)
def test_kinds_of_files(options: dict[str, Any], device: torch.device) -> None:
    transform, data = Preprocess(28, 32), jpeg(photograph(80, 60), **options)
    pixels = decoded(DeviceDecoder(transform, device), [data])[0]
    assert pixels is not None
    assert (pixels.cpu().float() - transform.pixels(decode_picture(data)).float()).abs().mean() < 1


def test_pictures_of_a_batch_are_decoded_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [turned(photograph(*size, seed=seed), orientation)
             for seed, (size, orientation) in enumerate([((51, 38), 1), ((60, 60), 1), ((51, 38), 6), ((51, 38), 1)])]  # fmt: skip
    transform = Preprocess(28, 32)
    alone = decoded(DeviceDecoder(transform, CPU), files)
    calls: list[int] = []
    decode = device_decoding._decode
    monkeypatch.setattr(device_decoding, "_decode", lambda given, on: (calls.append(len(given)), decode(given, on))[1])
    monkeypatch.setattr(device_decoding, "BATCHED", ("cpu",))
    together = decoded(DeviceDecoder(transform, CPU), files)
    assert calls == [4]
    monkeypatch.setattr(device_decoding, "_TOGETHER", 3 * 60 * 100)
    assert len(decoded(DeviceDecoder(transform, CPU), files)) == 4
    assert calls == [4, 3, 1], "memory has a bound"
    for one, other in zip(alone, together, strict=True):
        assert one is not None and other is not None and torch.equal(one, other)


def test_what_torchvision_refuses_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [jpeg(photograph(40, 30, seed)) for seed in range(3)]
    decode = device_decoding._decode

    def refuses(given: Sequence[bytes], device: torch.device) -> list[Tensor]:
        if files[1] in given:
            raise RuntimeError("nvjpegDecode failed")
        return decode(given, device)

    monkeypatch.setattr(device_decoding, "_decode", refuses)
    monkeypatch.setattr(device_decoding, "BATCHED", ("cpu",))
    found = decoded(DeviceDecoder(Preprocess(28, 32), CPU), files)
    assert [pixels is None for pixels in found] == [False, True, False]


def test_takes_whole_colour_jpegs_of_a_reasonable_size(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, good = DeviceDecoder(Preprocess(28, 32), CPU), jpeg(photograph(40, 30))
    png = io.BytesIO()
    photograph(40, 30).save(png, "PNG")
    assert decoder.takes(good)
    for other in (good[:-200], png.getvalue(), jpeg(photograph(40, 30).convert("L")), b"", torch.zeros(3, 4, 4)):
        assert not decoder.takes(other)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert not decoder.takes(good), "Pillow has a say about pictures that are too large"


class TestWhoHasADecoder:
    def encoder(self, transform: Any) -> Any:
        encoder = Pixels(size=4)
        encoder.transform, encoder.decoding = transform, "device"
        return encoder

    def test_who_asks_for_it(self) -> None:
        encoder = self.encoder(Preprocess(8, 8))
        found = device_decoder(encoder, CPU)
        assert found is not None and found.kind == "torchvision cpu"
        encoder.decoding = "full"
        assert device_decoder(encoder, CPU) is None

    def test_others_are_told_why_not(self, caplog: pytest.LogCaptureFixture) -> None:
        encoder = self.encoder(lambda image: torch.zeros(3, 4, 4))
        encoder.name = "one with a transform of its own"
        with caplog.at_level(logging.WARNING, "fewshot"):
            assert device_decoder(encoder, CPU) is None and device_decoder(encoder, CPU) is None
        assert caplog.text.count("its transform is no fewshot.encoders.Preprocess") == 1, "it is said once"
        assert "interpolation is 'lanczos'" in str(why_not(Preprocess(8, 8, interpolation="lanczos"), CPU))
        assert "no decoder for 'mps'" in str(why_not(Preprocess(8, 8), torch.device("mps")))

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_no_gpu(self) -> None:
        reason = why_not(Preprocess(8, 8), torch.device("cuda"))
        assert reason is not None and "cannot decode on 'cuda'" in reason

    def test_no_torchvision_with_images(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(given: Any, device: Any) -> Any:
            raise RuntimeError("Couldn't load the image extension.")

        device_decoding._try.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(device_decoding, "_decode", missing)
            assert "Couldn't load the image extension" in str(why_not(Preprocess(8, 8), CPU))
        assert why_not(Preprocess(8, 8), CPU) is None, "errors are not kept"

    def test_a_deprecation_that_is_made_an_error(self) -> None:
        device_decoding._try.cache_clear()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reason = why_not(Preprocess(8, 8), CPU)
        assert reason is None or "TorchCodec" in reason, "an objection, no error"

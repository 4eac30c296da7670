"""Large JPEGs are decoded smaller than they are: which, how near that comes, and that no row is served for another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_examples import jpeg, photograph
from PIL import Image
from torch import Tensor, nn

from episodes.image_source import ImageSource
from episodes.pictures import decode_picture, decode_reduced
from fewshot import embed, load_encoder
from fewshot.embedding.ahead import batches
from fewshot.embedding.forward import BatchSize
from fewshot.embedding.plan import Plan, Work
from fewshot.encoders import Encoder, ModuleEncoder, Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Count(nn.Module):
    """Colours of a 4 x 4 grid as features."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)


class Mine(Preprocess):
    """A subclass that looks at the picture itself."""

    def __call__(self, image: Any) -> Tensor:
        return torch.full((3, 4, 4), float(image.width))


def model(transform: Any = None, **attributes: Any) -> Encoder:
    encoder = ModuleEncoder(Count(), transform or Preprocess(28, 32, MEAN, STD))
    for name, value in attributes.items():
        setattr(encoder, name, value)
    return encoder


class TestReduction:
    def test_leaves_twice_the_pixels(self) -> None:
        transform = Preprocess(224, 256)
        for side in (300, 1023, 1024, 2047, 2048, 4095, 4096, 9000):
            scale = transform.reduction(2 * side, side)
            assert scale == 1 or side // scale >= 512
            assert scale == 8 or side // (2 * scale) < 512
        assert Preprocess(224, None).reduction(896, 5000) == 2

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
    def test_sees_what_the_whole_picture_shows(self, mode: str, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = jpeg(photograph(515, 387).convert(mode), exif=exif)  # sides that no scale divides
        transform = Preprocess(28, 32, MEAN, STD)
        assert transform.reduction(515, 387) == 4
        whole, (part, box) = decode_picture(data), decode_reduced(data, 4)
        assert part.size == tuple(-(-side // 4) for side in whole.size)
        assert (4 * (box[2] - box[0]), 4 * (box[3] - box[1])) == whole.size
        expected = transform.pixels(whole).float()
        wrong = (transform.pixels(part, box).float() - expected).abs().mean()
        assert wrong < 0.7 and wrong < 0.7 * (transform.pixels(part).float() - expected).abs().mean()
        squashed = Preprocess(40, None)
        assert (squashed.pixels(part, box).float() - squashed.pixels(whole).float()).abs().mean() < 0.7
        framed = Preprocess(40, 32)  # black outside
        assert (framed.pixels(part, box).float() - framed.pixels(whole).float()).abs().mean() < 0.7

    def test_a_batch_is_normalised_to_the_same_bits(self) -> None:
        transform = Preprocess(28, 32, MEAN, STD)
        images = [photograph(50, 40, seed) for seed in range(5)]
        batch = transform.normalised(torch.stack([transform.pixels(image) for image in images]))
        for image, row in zip(images, batch, strict=True):
            pixels = transform.pixels(image)
            slow = (pixels.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
            assert torch.equal(row, transform(image)) and torch.equal(row, slow)


class TestRows:
    def test_pictures_of_ordinary_size_are_the_same_bits_and_found_again(self, tmp_path: Path) -> None:
        files = [tmp_path / f"{seed}.jpg" for seed in range(3)]
        for seed, file in enumerate(files):
            photograph(127, 90, seed).save(file)
        whole = embed(files, model(decoding="full"), cache=tmp_path / "cache", storage="float32")
        again = embed(files, model(), cache=tmp_path / "cache", storage="float32")
        assert again.report["hits"] == 3
        encoder = model()
        assert encoder.transform is not None
        slow = torch.stack([encoder.transform(Image.open(file)) for file in files])
        torch.testing.assert_close(whole.features, encoder.encode_images(slow), rtol=1e-6, atol=1e-7)

    def test_large_photographs_have_keys_of_their_own(self, tmp_path: Path) -> None:
        photograph(800, 600).save(tmp_path / "large.jpg")
        files = [tmp_path / "large.jpg"]
        whole = embed(files, model(decoding="full"), cache=tmp_path / "cache")
        small = embed(files, model(), cache=tmp_path / "cache")
        assert (small.report["hits"], small.report["computed"]) == (0, 1)
        assert small.report["space"] == whole.report["space"] and small.keys.tobytes() != whole.keys.tobytes()
        assert small.fingerprint() != whole.fingerprint()
        assert torch.cosine_similarity(small.features, whole.features).min() > 0.9999
        for decoding, expected in (("full", whole), ("reduced", small)):
            found = embed(files, model(decoding=decoding), cache=tmp_path / "cache")
            assert found.report["hits"] == 1 and torch.equal(found.features, expected.features)

    def test_another_resize_of_the_same_file_is_another_row(self, tmp_path: Path) -> None:
        photograph(800, 600).save(tmp_path / "large.jpg")
        for transform in (Preprocess(28, 32), Preprocess(56, 64)):
            source = embed([tmp_path / "large.jpg"], model(transform), cache=tmp_path / "cache")
            assert source.report["computed"] == 1

    def test_transforms_and_views_that_may_look_closer_get_the_whole_picture(self, tmp_path: Path) -> None:
        photograph(800, 600).save(tmp_path / "large.jpg")
        widths: list[int] = []

        def note(image: Image.Image, generator: np.random.Generator) -> Image.Image:
            widths.append(image.width)
            return image

        source = embed([tmp_path / "large.jpg"], model(Mine(4, 4), version="1"), cache=False)
        assert source.features[0, 0] == 800
        embed([tmp_path / "large.jpg"], model(), cache=False, views=1, augment=note)
        assert widths == [800]

    def test_the_spec_turns_it_off(self) -> None:
        assert load_encoder("pixels(size=4, decoding='full')").decoding == "full"
        assert load_encoder("pixels(size=4)").decoding == "reduced"
        with pytest.raises(ValueError, match=r"decoding='half' .* reduced, full, device"):
            load_encoder("pixels(size=4, decoding='half')")


def test_decoding_stays_a_few_batches_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    plain = Preprocess.pixels

    def note(self: Preprocess, image: Any, box: Any = None) -> Tensor:
        seen.append(image.width)
        return plain(self, image, box)

    monkeypatch.setattr(Preprocess, "pixels", note)
    source = ImageSource([photograph(9, 9, seed) for seed in range(60)], range(60))
    encoder, device = model(), torch.device("cpu")
    plan = Plan(source, 0, None, 0, 1)
    work = Work(source, list(range(60)), plan.keys[:, 0], [{}] * 60)
    stream = batches(work, encoder, BatchSize(2, device), 4, device)
    for taken, batch in enumerate(stream, 1):
        assert batch.inputs.dtype == torch.uint8  # type: ignore[union-attr]
        deadline = time.monotonic() + 5
        while len(seen) < min(60, 2 * taken + 4) and time.monotonic() < deadline:
            time.sleep(0.001)  # until the threads have nothing more to do
        time.sleep(0.005)
        assert len(seen) <= 2 * taken + 4
        if taken == 5:
            break
    stream.close()  # type: ignore[attr-defined]

"""`embed`: rows as one image after the other gives them, each computed once, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedding_examples import Net, Reader, encoder, write_photographs
from PIL import Image
from torch import Tensor, nn

from episodes import TensorSource
from episodes.image_source import ImageSource
from episodes.text_source import TextSource
from fewshot import EmbeddingCache, embed
from fewshot.cache import UnfingerprintableError
from fewshot.embedding.canary import kept_canary
from fewshot.encoders import ModuleEncoder, Pixels, Preprocess, module


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_photographs(tmp_path_factory.mktemp("photographs"))


def reference(model: ModuleEncoder, paths: Sequence[Path]) -> Tensor:
    """The slow way: one image after the other."""
    rows = []
    for path in paths:
        assert model.transform is not None
        batch = model.transform(Image.open(path).convert("RGB")).unsqueeze(0)
        rows.append(model.encode_images(batch).detach()[0])
    return torch.stack(rows)


class TestRows:
    @pytest.mark.parametrize("batch_size", [1, 3, 64])
    @pytest.mark.parametrize("workers", [1, 3])
    def test_they_equal_one_image_after_the_other(self, photographs: list[Path], batch_size: int, workers: int) -> None:
        model = encoder()
        source = embed(photographs, model, cache=False, storage="float32", batch_size=batch_size, workers=workers)
        torch.testing.assert_close(source.features, reference(model, photographs), rtol=1e-4, atol=1e-5)

    def test_cached_and_fresh_rows_are_the_same_bits(self, photographs: list[Path], tmp_path: Path) -> None:
        model = encoder()
        fresh = embed(photographs, model, cache=False)
        stored = embed(photographs, model, cache=tmp_path)
        again = embed(photographs, model, cache=tmp_path)
        assert torch.equal(fresh.features, stored.features)
        assert torch.equal(fresh.features, again.features)

    def test_float16_storage_is_the_rounding_of_float32(self, photographs: list[Path]) -> None:
        model = encoder()
        exact = embed(photographs, model, cache=False, storage="float32").features
        assert torch.equal(embed(photographs, model, cache=False).features, exact.half().float())

    def test_raw_tensors_go_to_encoders_without_a_transform(self) -> None:
        images = torch.rand(6, 3, 12, 12)
        model = encoder(transform=None)
        source = embed(images, model, cache=False, storage="float32", batch_size=4)
        torch.testing.assert_close(source.features, model.encode_images(images).detach(), rtol=1e-4, atol=1e-5)

    def test_a_buffer_that_is_reused_does_not_reach_the_cache(self, photographs: list[Path]) -> None:
        # Pixels gives views of the batch it is given, which the loader fills again while rows are written.
        source = embed(photographs * 5, Pixels(size=9), cache=False, storage="float32", batch_size=2)
        for row, path in enumerate(photographs):
            expected = np.asarray(Image.open(path).resize((9, 9), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
            np.testing.assert_allclose(source.features[row].numpy(), expected.ravel() / 255, atol=1e-6)

    def test_bfloat16_is_close_and_another_space(self, photographs: list[Path], tmp_path: Path) -> None:
        model = encoder()
        exact = embed(photographs, model, cache=tmp_path)
        rough = embed(photographs, model, cache=tmp_path, precision="bfloat16")
        assert rough.report["space"] != exact.report["space"]
        assert torch.cosine_similarity(exact.features, rough.features).min() > 0.999
        assert not torch.equal(exact.features, rough.features)

    def test_the_random_state_and_threads_are_left_alone(self, photographs: list[Path]) -> None:
        model = encoder()
        state, threads = torch.get_rng_state(), torch.get_num_threads()
        embed(photographs, model, cache=False, views=2)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == threads
        assert not [thread for thread in threading.enumerate() if thread.name.startswith(("decode", "write"))]


class TestHits:
    def test_the_weights_are_read_once(self, photographs: list[Path], tmp_path: Path, monkeypatch: Any) -> None:
        read: list[nn.Module] = []
        digest = module.digest_weights
        monkeypatch.setattr(module, "digest_weights", lambda network: (read.append(network), digest(network))[1])
        for count in (1, 2):
            embed(photographs, encoder(), cache=tmp_path)
            assert len(read) == count

    def test_nothing_is_computed_twice(self, photographs: list[Path], tmp_path: Path) -> None:
        model = encoder()
        first = embed(photographs, model, cache=tmp_path)
        assert (first.report["hits"], first.report["computed"]) == (0, 11)
        seen = model.module.seen
        second = embed(photographs[::-1], model, labels=range(11), cache=tmp_path)
        assert (second.report["hits"], second.report["computed"]) == (11, 0)
        assert model.module.seen == seen
        assert torch.equal(second.features, first.features.flip(0))

    def test_a_file_that_moves_or_is_copied_is_known(self, photographs: list[Path], tmp_path: Path) -> None:
        model = encoder()
        embed(photographs, model, cache=tmp_path / "cache")
        copies = []
        for path in photographs:
            copies.append(tmp_path / f"copy-{path.name}")
            copies[-1].write_bytes(path.read_bytes())
        source = embed([*photographs, *copies], model, cache=tmp_path / "cache")
        assert (source.report["computed"], source.report["hits"], source.report["duplicates"]) == (0, 11, 11)

    @pytest.mark.parametrize(
        "other",
        [
            {"seed": 1}, {"layer": "body.2"}, {"pool": "max"}, {"transform": Preprocess(16, 20)},
            {"transform": Preprocess(16, 18, interpolation="bilinear")},
        ],
    )  # fmt: skip
    def test_another_encoder_is_another_space(
        self, photographs: list[Path], tmp_path: Path, other: dict[str, Any]
    ) -> None:
        embed(photographs, encoder(), cache=tmp_path)
        assert embed(photographs, encoder(**other), cache=tmp_path).report["hits"] == 0

    def test_one_weight_is_enough(self, photographs: list[Path], tmp_path: Path) -> None:
        model = encoder()
        before = embed(photographs, model, cache=tmp_path)
        with torch.no_grad():
            model.module.body[0].weight[0, 0, 0, 0] += 1e-3
        after = embed(photographs, model, cache=tmp_path)
        assert (after.report["hits"], after.report["computed"]) == (0, 11)
        assert not torch.equal(before.features, after.features)

    def test_a_damaged_segment_is_computed_again(self, photographs: list[Path], tmp_path: Path) -> None:
        model = encoder()
        good = embed(photographs, model, cache=tmp_path).features
        segment = next(tmp_path.rglob("*.safetensors"))
        content = bytearray(segment.read_bytes())
        content[-3] ^= 0x10
        segment.write_bytes(content)
        repaired = embed(photographs, model, cache=tmp_path)
        assert torch.equal(repaired.features, good)
        assert repaired.report["computed"] == 11

    def test_an_encoder_without_identity_needs_cache_false(self, photographs: list[Path], tmp_path: Path) -> None:
        stream = iter([Preprocess(16, 18)] * 100)  # an iterator shows no state
        model = encoder(transform=lambda image: next(stream)(image))
        with pytest.raises(UnfingerprintableError, match=r"version="):
            embed(photographs, model, cache=tmp_path)
        source = embed(photographs, model, cache=False)
        torch.testing.assert_close(source.features, embed(photographs, encoder(), cache=False).features)

    def test_a_setting_that_nothing_prints_is_another_space(self, tmp_path: Path) -> None:
        from identity_examples import Net as Pooled

        rows = torch.rand(6, 4)
        make = lambda mode: ModuleEncoder(nn.Sequential(Pooled(mode), nn.Unflatten(0, (-1, 1))), None)  # noqa: E731
        mean = embed(rows, make("mean"), labels=range(6), cache=tmp_path).features
        largest = embed(rows, make("amax"), labels=range(6), cache=tmp_path).features
        assert not torch.equal(mean, largest)

    def test_a_space_that_was_removed_begins_anew(self, photographs: list[Path], tmp_path: Path) -> None:
        cache = EmbeddingCache(tmp_path)
        first = embed(photographs, encoder(), cache=cache)
        cache.rm(first.report["space"])
        again = embed(photographs, encoder(), cache=cache)
        assert again.report["computed"] == 11
        assert kept_canary(cache.open(again.report["space"])) is not None


class TestFailures:
    @pytest.fixture
    def damaged(self, photographs: list[Path], tmp_path: Path) -> list[Path]:
        """Number 4 is truncated, number 9 is missing."""
        files = list(photographs)
        files[4], files[9] = tmp_path / "torn.png", tmp_path / "gone.png"
        files[4].write_bytes(photographs[4].read_bytes()[:200])
        return files

    def test_the_item_is_named(self, damaged: list[Path]) -> None:
        with pytest.raises(ValueError, match=r"gone\.png' \(row 9 of .*on_error='skip'"):
            embed(damaged, encoder(), cache=False)
        damaged.pop(9)
        with pytest.raises(ValueError, match=r"torn\.png' \(row 4 of .*on_error='skip'"):
            embed(damaged, encoder(), cache=False)

    def test_skipped_rows_go_with_their_labels(self, damaged: list[Path], photographs: list[Path]) -> None:
        model, labels = encoder(), [f"class {row}" for row in range(11)]
        source = embed(damaged, model, labels=labels, cache=False, on_error="skip", storage="float32")
        kept = [row for row in range(11) if row not in (4, 9)]
        assert [source.class_names[label] for label in source.labels] == [labels[row] for row in kept]
        torch.testing.assert_close(
            source.features, reference(model, [photographs[row] for row in kept]), rtol=1e-4, atol=1e-5
        )
        assert [entry["row"] for entry in source.report["skipped"]] == [4, 9]
        assert "torn.png" in source.report["skipped"][0]["error"]

    def test_copies_of_a_damaged_item_are_skipped_too(self, damaged: list[Path]) -> None:
        source = embed([*damaged, damaged[4]], encoder(), cache=False, on_error="skip")
        assert [entry["row"] for entry in source.report["skipped"]] == [4, 9, 11]
        assert len(source) == 9

    def test_what_was_computed_before_is_kept(self, damaged: list[Path], tmp_path: Path) -> None:
        damaged.pop(9)
        with pytest.raises(ValueError, match=r"torn"):
            embed(damaged, encoder(), cache=tmp_path / "cache", batch_size=2, workers=1)
        assert embed(damaged[:4], encoder(), cache=tmp_path / "cache").report["computed"] == 0

    def test_features_that_are_not_finite_are_named(self) -> None:
        images = torch.rand(5, 3, 8, 8)
        images[3, 0, 2, 2] = torch.nan
        with pytest.raises(ValueError, match=r"row 3 of 'tensors'.*NaN"):
            embed(images, encoder(transform=None), cache=False)

    def test_float16_overflow_says_what_to_do(self) -> None:
        with pytest.raises(ValueError, match=r"row 1 .* try storage='float32'"):
            embed(TensorSource(torch.tensor([[1.0], [1e6]]), [0, 1]), "pixels", cache=False)
        source = embed(TensorSource(torch.tensor([[1.0], [1e6]]), [0, 1]), "pixels", cache=False, storage="float32")
        assert source.features[1, 0] == 1e6

    def test_a_file_that_changes_meanwhile_is_no_row(
        self, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reads: list[int] = []
        plain = ImageSource.read

        def read(self: Any, row: int) -> bytes:
            reads.append(row)
            return plain(self, row) + (b"!" if reads.count(row) > 1 and row == 2 else b"")

        monkeypatch.setattr(ImageSource, "read", read)
        with pytest.raises(ValueError, match=r"02\.png.*has changed since"):
            embed(photographs, encoder(dim=5), cache=tmp_path)

    def test_images_of_different_shapes_need_a_transform(self, photographs: list[Path]) -> None:
        with pytest.raises(ValueError, match=r"needs a transform that resizes"):
            embed(photographs, "pixels", cache=False, batch_size=1)

    def test_nothing_left_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"not one row"):
            embed([tmp_path / "a.png"], encoder(), cache=False, on_error="skip")


class TestInterruption:
    def test_the_same_call_resumes(self, photographs: list[Path], tmp_path: Path) -> None:
        class Interrupted(Net):
            def forward(self, images: Tensor) -> Tensor:
                if len(self.batches) == 3:  # a trial of dim, the canaries, and one batch
                    raise KeyboardInterrupt
                return super().forward(images)

        halting = ModuleEncoder(Interrupted(), Preprocess(16, 18), version="1")
        with pytest.raises(KeyboardInterrupt):
            embed(photographs, halting, cache=tmp_path, batch_size=3)
        halting.module.batches.extend([0] * 9)
        resumed = embed(photographs, halting, cache=tmp_path, batch_size=3)
        assert (resumed.report["hits"], resumed.report["computed"]) == (3, 8)
        torch.testing.assert_close(resumed.features, embed(photographs, encoder(), cache=False).features)


class TestTexts:
    def test_longest_first_in_the_order_of_the_dataset(self) -> None:
        model, texts = Reader(), ["a", "bb b", "cccccc", "dd", "a"]
        source = embed(TextSource(texts, ["x", "x", "y", "y", "z"]), model, cache=False, batch_size=2)
        assert [text for batch in model.batches for text in batch] == ["cccccc", "bb b", "dd", "a"]
        assert source.features[:, :4].tolist() == [
            [1, 0, 0, 0],
            [0, 3, 0, 0],
            [0, 0, 6, 0],
            [0, 0, 0, 2],
            [1, 0, 0, 0],
        ]
        assert source.kind == "features"

    def test_strings_are_texts_to_a_text_encoder(self, tmp_path: Path) -> None:
        model = Reader()
        embed(["one", "two"], model, cache=tmp_path)
        assert embed(["two", "three"], model, cache=tmp_path).report["hits"] == 1

    def test_views_of_texts_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"views are of images"):
            embed(["one"], Reader(), cache=False, views=2)

    def test_towers_must_fit(self) -> None:
        with pytest.raises(ValueError, match=r"holds texts, but 'pixels' encodes images only"):
            embed(TextSource(["a"], [0]), "pixels", cache=False)
        with pytest.raises(ValueError, match=r"holds images, but 'reader' encodes texts only"):
            embed(torch.rand(1, 3, 2, 2), Reader(), cache=False)

"""`embed`: what is looked up, what is computed, what is refused."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from episodes import TensorSource
from episodes.image_source import ImageSource
from episodes.text_source import TextSource
from fewshot import EmbeddingCache, embed
from fewshot.cache import StaleCacheError, UnfingerprintableError
from fewshot.embedding.canary import kept_canary
from fewshot.embedding.forward import Forward, computing
from fewshot.encoders import Encoder, ModuleEncoder, Pixels, Preprocess


class Log:
    """What a network was given; equal to any other by value, so that keeping it does not change what the network is."""

    def __init__(self) -> None:
        self.local = threading.local()
        self.local.batches = []

    @property
    def batches(self) -> list[int]:
        return self.local.batches  # type: ignore[no-any-return]


class Net(nn.Module):
    """A small network that counts the images it has seen."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3))
        self.log = Log()

    @property
    def batches(self) -> list[int]:
        return self.log.batches

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return self.body(images)  # type: ignore[no-any-return]

    @property
    def seen(self) -> int:
        return sum(size for size in self.batches if size != 4)  # batches of four are the canaries


class Reader(Encoder):
    """A text encoder: letter counts, and a record of what it was given."""

    name, dim = "reader", 26

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"family": "reader"}

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.batches.append(list(texts))
        return torch.tensor([[float(text.count(chr(97 + i))) for i in range(26)] for text in texts])


def encoder(seed: int = 0, **changes: Any) -> ModuleEncoder:
    return ModuleEncoder(Net(seed), **{"transform": Preprocess(16, 18), **changes})


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eleven PNG files of noise, of different sizes."""
    folder, generator = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    paths = []
    for number in range(11):
        noise = generator.integers(0, 256, (20 + number, 40 - number, 3), dtype=np.uint8)
        paths.append(folder / f"{number:02}.png")
        Image.fromarray(noise).save(paths[-1])
    return paths


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

    def test_float32_on_a_gpu_is_float32(self) -> None:
        switches = torch.backends.cuda.matmul, torch.backends.cudnn
        before = [switch.allow_tf32 for switch in switches]
        with computing(torch.device("cuda"), "float32"):  # only sets switches, so it needs no GPU
            assert not torch.backends.cuda.matmul.allow_tf32
            if hasattr(torch.backends.cudnn, "conv"):
                assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        assert [switch.allow_tf32 for switch in switches] == before

    def test_the_random_state_and_threads_are_left_alone(self, photographs: list[Path]) -> None:
        model = encoder()
        state, threads = torch.get_rng_state(), torch.get_num_threads()
        embed(photographs, model, cache=False, views=2)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == threads
        assert not [thread for thread in threading.enumerate() if thread.name.startswith(("decode", "write"))]


class TestHits:
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

    def test_duplicates_are_computed_once(self, photographs: list[Path]) -> None:
        model = encoder(dim=5)
        source = embed(photographs * 3, model, cache=False)
        assert model.module.seen == 11
        assert (source.report["computed"], source.report["duplicates"], len(source)) == (11, 22, 33)
        assert torch.equal(source.features[:11], source.features[22:])

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

    def test_drift_is_noticed_before_anything_is_written(
        self, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        embed(photographs[:4], encoder(), cache=tmp_path)
        monkeypatch.setattr("fewshot.embedding.canary._checked", set())  # as in a new process
        drifted = encoder()
        monkeypatch.setattr(  # as a library of another version might, whose layers are known by name alone
            nn.BatchNorm2d, "forward", lambda self, x: x * self.weight.view(-1, 1, 1) + x.mean()
        )
        with pytest.raises(StaleCacheError, match=r"cosine"):
            embed(photographs, drifted, cache=tmp_path)
        monkeypatch.undo()
        monkeypatch.setattr("fewshot.embedding.canary._checked", set())
        assert embed(photographs, encoder(), cache=tmp_path).report["hits"] == 4

    def test_drift_is_noticed_where_everything_is_cached(
        self, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = torch.rand(5, 3, 8, 8)
        cases = ((photographs[:4], {}), (rows, {"transform": None}))  # with a transform, and without
        for dataset, options in cases:
            embed(dataset, encoder(**options), cache=tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr("fewshot.embedding.canary._checked", set())  # as in a new process
            patch.setattr(
                nn.BatchNorm2d, "forward", lambda self, x: x * self.weight.view(-1, 1, 1) + x.mean((0, 2, 3), True)
            )
            for dataset, options in cases:
                with pytest.raises(StaleCacheError, match=r"cosine"):
                    embed(dataset, encoder(**options), cache=tmp_path)
        for dataset, options in cases:
            assert embed(dataset, encoder(**options), cache=tmp_path).report["hits"] == len(dataset)

    def test_a_setting_that_nothing_prints_is_another_space(self, tmp_path: Path) -> None:
        from identity_examples import Net as Pooled

        rows = torch.rand(6, 4)
        make = lambda mode: ModuleEncoder(nn.Sequential(Pooled(mode), nn.Unflatten(0, (-1, 1))), None)  # noqa: E731
        mean = embed(rows, make("mean"), labels=range(6), cache=tmp_path).features
        largest = embed(rows, make("amax"), labels=range(6), cache=tmp_path).features
        assert not torch.equal(mean, largest)

    def test_features_that_were_changed_are_no_embedding_any_more(
        self, photographs: list[Path], tmp_path: Path
    ) -> None:
        source = embed(photographs, encoder(), cache=tmp_path)
        mapped = embed(photographs, encoder(), cache=tmp_path, memory_limit=0)
        assert source.fingerprint() == mapped.fingerprint()
        assert source.select([0, 1]).fingerprint() == mapped.select([0, 1]).fingerprint() != source.fingerprint()
        before = source.fingerprint()
        source.features.data[0] += 1
        assert source.fingerprint() != before
        assert source.select([0, 1]).fingerprint() != mapped.select([0, 1]).fingerprint()
        mapped.features = source.features
        assert mapped.fingerprint() == source.fingerprint()

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

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"storage": "int8"}, "must be 'float16' or 'float32'"),
            ({"on_error": "ignore"}, "must be 'raise' or 'skip'"),
            ({"precision": "double"}, "must be one of auto, float32"),
            ({"views": -1}, "views=-1"),
            ({"views": 1.5}, "views=1.5"),
            ({"batch_size": 1.5}, "batch_size=1.5"),
            ({"augment": lambda image, generator: image}, "at least 1 where augment is given"),
            ({"batch_size": 0}, "batch_size=0"),
            ({"workers": "many"}, "workers='many'"),
            ({"engine": "rey"}, "did you mean 'ray'"),
        ],
    )
    def test_wrong_arguments_are_refused(self, wrong: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            embed(torch.rand(2, 1, 2, 2), "pixels", cache=False, **wrong)

    @pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("CUDA out of memory"), MemoryError()])
    def test_the_batch_is_halved_where_memory_is_too_small(self, error: Exception) -> None:
        class Narrow(Net):
            def forward(self, images: Tensor) -> Tensor:
                if len(images) > 3:
                    raise error
                return super().forward(images)

        model = ModuleEncoder(Narrow())
        images = torch.rand(40, 3, 8, 8)
        forward = Forward(model, torch.device("cpu"), "float32", torch.float32)
        parts = torch.cat([model.encode_images(part).detach() for part in images[:16].split(2)])
        torch.testing.assert_close(forward(images[:16]), parts, rtol=1e-4, atol=1e-5)
        assert forward.limit == 2
        source = embed(images, model, cache=False, batch_size=16)
        assert len(source) == 40

    def test_one_item_that_does_not_fit_is_an_error(self) -> None:
        class Full(Net):
            def forward(self, images: Tensor) -> Tensor:
                raise MemoryError

        forward = Forward(ModuleEncoder(Full()), torch.device("cpu"), "float32", torch.float32)
        with pytest.raises(MemoryError, match=r"one item does not fit"):
            forward(torch.rand(4, 3, 8, 8))

    def test_other_errors_are_not_taken_for_memory(self) -> None:
        with pytest.raises(RuntimeError, match=r"channels"):
            embed(torch.rand(4, 2, 8, 8), encoder(transform=None), cache=False)


class TestInterruption:
    def test_the_same_call_goes_on(self, photographs: list[Path], tmp_path: Path) -> None:
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


class TestViews:
    def test_rows_are_means_of_views_that_the_seed_decides(self, photographs: list[Path], tmp_path: Path) -> None:
        model = encoder()
        two = embed(photographs, model, cache=tmp_path, views=2)
        again = embed(photographs[::-1], model, cache=False, views=2, workers=1, batch_size=5)
        assert two.features.shape == (11, 5)
        assert torch.equal(again.features.flip(0), two.features)
        three = embed(photographs, model, cache=tmp_path, views=3)
        assert (three.report["hits"], three.report["computed"]) == (22, 11)
        other = embed(photographs, model, cache=tmp_path, views=2, seed=1)
        assert other.report["hits"] == 0
        assert not torch.equal(other.features, two.features)

    def test_an_augmentation_of_ones_own(self, photographs: list[Path]) -> None:
        model = encoder()
        plain = embed(photographs, model, cache=False, storage="float32")
        same = embed(photographs, model, cache=False, storage="float32", views=2, augment=unchanged)
        torch.testing.assert_close(same.features, plain.features, rtol=1e-4, atol=1e-5)


def unchanged(image: Any, generator: np.random.Generator) -> Any:
    return image


class Labelled(torch.utils.data.Dataset[Any]):
    """A torch dataset that refuses to be decoded before its time."""

    classes = ("night", "day")

    def __init__(self, images: list[Any]) -> None:
        self.images, self.targets, self.reads = images, [0, 1] * (len(images) // 2), 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        self.reads += 1
        return self.images[row], self.targets[row]


class TestDatasets:
    def test_names(self) -> None:
        source = embed("digits", "pixels", cache=False)
        assert source.features.shape == (1797, 64)
        assert source.name == "digits @ pixels"

    def test_every_form_of_the_same_pictures_gives_the_same_rows(self, photographs: list[Path]) -> None:
        pictures = [Image.open(path).convert("RGB").resize((30, 24)) for path in photographs[:6]]
        arrays = np.stack([np.asarray(picture) for picture in pictures])
        tensor = torch.from_numpy(arrays).permute(0, 3, 1, 2)
        labels = [0, 1] * 3
        forms: list[Any] = [
            pictures, list(arrays), arrays, tensor, tensor.float() / 255, ImageSource(pictures, labels),
            Labelled(pictures), Labelled(list(arrays)), Labelled(list(tensor)),
            torch.utils.data.Subset(Labelled(pictures * 2), range(6)),
        ]  # fmt: skip
        rows = [embed(form, encoder(), cache=False, storage="float32").features for form in forms]
        for other in rows[1:]:
            torch.testing.assert_close(other, rows[0], rtol=1e-4, atol=1e-5)

    def test_labels_of_a_torch_dataset(self, photographs: list[Path]) -> None:
        data = Labelled([Image.open(path).convert("RGB") for path in photographs[:6]])
        source = embed(torch.utils.data.Subset(data, [5, 2]), encoder(), cache=False)
        assert source.labels.tolist() == [1, 0]
        assert source.class_names == ["night", "day"]

    def test_folders_of_torchvision(self, photographs: list[Path], tmp_path: Path) -> None:
        from torchvision.datasets import ImageFolder

        for row, path in enumerate(photographs[:4]):
            folder = tmp_path / "ab"[row % 2]
            folder.mkdir(exist_ok=True)
            (folder / path.name).write_bytes(path.read_bytes())
        source = embed(ImageFolder(tmp_path), encoder(), cache=False)
        assert (source.class_names, source.labels.tolist()) == (["a", "b"], [0, 0, 1, 1])
        expected = embed([photographs[row] for row in (0, 2, 1, 3)], encoder(), cache=False)
        assert torch.equal(source.features, expected.features)

    def test_unlabelled_items_are_one_class(self, photographs: list[Path]) -> None:
        source = embed(photographs, encoder(), cache=False)
        assert (source.class_names, set(source.labels.tolist())) == (["unlabelled"], {0})

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ([], "dataset is empty"),
            (torch.rand(2, 3, 8, 8) * 5, "pixels are float32 from"),
            (torch.rand(2, 7), "which is no image"),
            (torch.utils.data.TensorDataset(torch.rand(2, 3)), "none of .targets"),
        ],
    )
    def test_what_cannot_be_embedded(self, data: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            embed(data, encoder(), cache=False)

    def test_labels_are_given_once(self) -> None:
        with pytest.raises(ValueError, match=r"has labels of its own"):
            embed(TensorSource(torch.eye(2), [0, 1]), "pixels", labels=[0, 1], cache=False)


class TestSource:
    def test_the_fingerprint_follows_content_labels_and_encoder(self, photographs: list[Path], tmp_path: Path) -> None:
        def fingerprint(files: list[Path], seed: int = 0, labels: Any = None, cache: Any = tmp_path) -> str:
            return embed(files, encoder(seed), labels=labels, cache=cache).fingerprint()

        one = fingerprint(photographs)
        assert one == fingerprint(photographs, cache=False)
        different = {
            one, fingerprint(photographs[::-1]), fingerprint(photographs, seed=1),
            fingerprint(photographs, labels=range(11)),
        }  # fmt: skip
        assert len(different) == 4

    def test_a_selection_is_fingerprinted_like_its_own_dataset(self, photographs: list[Path], tmp_path: Path) -> None:
        whole = embed(photographs, encoder(), cache=tmp_path)
        part = whole.select([2, 5]).to("cpu")
        assert part.fingerprint() == embed([photographs[2], photographs[5]], encoder(), cache=tmp_path).fingerprint()
        assert torch.equal(part.features, whole.features[[2, 5]])

    def test_a_large_table_stays_on_disk(self, photographs: list[Path], tmp_path: Path) -> None:
        cache = EmbeddingCache(tmp_path)
        usual = embed(photographs, encoder(), cache=cache)
        mapped = embed(photographs, encoder(), cache=cache, memory_limit=50)
        assert mapped.features.dtype == torch.float16
        index = torch.tensor([[3, 10], [0, 0]])
        assert torch.equal(mapped[index], usual[index])
        assert mapped.fingerprint() == usual.fingerprint()

"""Lanes: the rows that one thread computes, batches side by side, and networks that must not be shared."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from tuning_examples import pictures, tune

from episodes import AudioSource, ImageSource, TextSource
from fewshot import embed, load_encoder
from fewshot.embedding import lanes
from fewshot.embedding.copies import replica
from fewshot.embedding.forward import Forward
from fewshot.embedding.lanes import has_lanes
from fewshot.encoders import Encoder, ModuleEncoder, Preprocess

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{number:02}.png" for number in range(40)]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return paths


class Forgetful(nn.Module):
    """Keeps a batch on itself between its two halves, as some networks keep the size of their input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last = nn.Linear(3, 5)
        self.kept: Any = None

    def forward(self, images: Tensor) -> Tensor:
        self.kept = images.mean((2, 3))
        time.sleep(0.002)  # another lane's batch would be here by now
        return self.last(self.kept)  # type: ignore[no-any-return]


class Busy(nn.Module):
    """Counts how many compute at once, and on how many threads."""

    running, most = 0, 0
    threads: ClassVar[set[int]] = set()
    sizes: ClassVar[list[int]] = []
    lock = threading.Lock()

    def forward(self, images: Tensor) -> Tensor:
        with Busy.lock:
            Busy.running += 1
            Busy.most = max(Busy.most, Busy.running)
            Busy.threads.add(torch.get_num_threads())
            Busy.sizes.append(len(images))
        time.sleep(0.005)
        with Busy.lock:
            Busy.running -= 1
        return images.mean((2, 3))


def model(network: nn.Module) -> ModuleEncoder:
    return ModuleEncoder(network, Preprocess(16, 18), version="1")


def has(encoder: Encoder, kind: str = "images", items: int = 100) -> bool:
    return has_lanes(Forward(encoder, CPU, "float32", torch.float32), kind, items)


def rows(dataset: Any, encoder: Any, **given: Any) -> Tensor:
    return embed(dataset, encoder, cache=False, device="cpu", storage="float32", progress=False, **given).features


@pytest.mark.parametrize("given", [{}, {"batch_size": 3}, {"workers": 5}, {"precision": "bfloat16"}])
def test_the_rows_of_one_thread(photographs: list[Path], given: dict[str, Any], two_threads: None) -> None:
    encoder = model(Forgetful())
    found = rows(photographs, encoder, **given)
    torch.set_num_threads(1)
    torch.testing.assert_close(found, rows(photographs, encoder, **given), rtol=1e-5, atol=1e-6)
    assert encoder.module.kept is None or len(encoder.module.kept) <= 4, "the network itself saw control items alone"


def test_texts_have_one_tokenizer(two_threads: None) -> None:
    encoder = load_encoder("fewshot:tiny-clip")
    texts = [f"a {'very ' * (number % 7)}red circle number {number}" for number in range(60)]
    plain, at_once, most = encoder.tokenizer, 0, 0

    class OneAtATime:
        def __call__(self, texts: Sequence[str]) -> Any:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            time.sleep(0.001)
            tokens = plain(texts)
            at_once -= 1
            return tokens

        def __getattr__(self, name: str) -> Any:
            return getattr(plain, name)

    source = TextSource(texts, torch.zeros(60))
    torch.set_num_threads(1)
    true = rows(source, encoder)
    torch.set_num_threads(2)
    assert has(encoder, "texts", 60)
    forward = Forward(encoder, CPU, "float32", torch.float32)
    encoder.tokenizer = OneAtATime()
    own = [lanes._own(forward, "texts", lock) for lock in [threading.Lock()] for _ in range(3)]
    threads = [threading.Thread(target=lambda lane=lane: [lane(texts[:20]) for _ in range(5)]) for lane in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    encoder.tokenizer = plain
    torch.testing.assert_close(rows(source, encoder), true, rtol=1e-4, atol=1e-5)


def test_batches_side_by_side_on_one_thread_each(photographs: list[Path], two_threads: None) -> None:
    Busy.most, Busy.threads, Busy.sizes = 0, set(), []
    source = embed(photographs, model(Busy()), cache=False, device="cpu", batch_size=6, workers=4, progress=False)
    assert Busy.most == 2, "as many as torch has threads"
    assert 1 in Busy.threads
    assert sorted(Busy.sizes[-7:]) == [4, 6, 6, 6, 6, 6, 6], "a size that was given is kept"
    assert source.report["computed"] == 40
    assert torch.get_num_threads() == 2
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_no_more_readers_than_workers(photographs: list[Path], two_threads: None) -> None:
    class Source(ImageSource):
        """One that two threads may not read at once."""

        at_once, most = 0, 0

        def read(self, row: int) -> Any:
            Source.at_once += 1
            Source.most = max(Source.most, Source.at_once)
            time.sleep(0.001)
            Source.at_once -= 1
            return super().read(row)

    source = Source(photographs, range(40))
    embed(source, model(Forgetful()), cache=False, device="cpu", batch_size=2, workers=1, progress=False)
    assert Source.most == 1


def test_the_last_batches_are_shared(photographs: list[Path], two_threads: None, monkeypatch: Any) -> None:
    monkeypatch.setattr("fewshot.embedding.forward._FIRST", {"cpu": 32, "cuda": 64})
    Busy.sizes = []
    embed(photographs, model(Busy()), cache=False, device="cpu", progress=False)
    assert max(Busy.sizes) == 20, "half of the work each"


def test_a_damaged_file_is_named(photographs: list[Path], two_threads: None) -> None:
    photographs[17].write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"17\.png"):
        rows(photographs, model(Forgetful()))
    source = embed(photographs, model(Forgetful()), cache=False, device="cpu", on_error="skip", progress=False)
    assert len(source) == 39 and source.report["skipped"][0]["row"] == 17


def test_an_error_in_a_lane_ends_it(photographs: list[Path], two_threads: None, tmp_path: Path) -> None:
    class Breaks(Forgetful):
        def forward(self, images: Tensor) -> Tensor:
            if float(images[0, 0, 0, 0]) == mark and flag.exists():
                raise ZeroDivisionError("here")
            return super().forward(images)

    flag = tmp_path / "breaks"
    flag.touch()
    source = ImageSource(photographs, range(40))
    mark = float(Preprocess(16, 18)(Image.open(photographs[20]).convert("RGB"))[0, 0, 0])
    with pytest.raises(ZeroDivisionError, match="here"):
        embed(source, model(Breaks()), cache=tmp_path / "cache", device="cpu", batch_size=2, progress=False)
    flag.unlink()
    again = embed(source, model(Breaks()), cache=tmp_path / "cache", device="cpu", batch_size=2, progress=False)
    assert again.report["hits"] >= 10, "what was computed before it was kept"


class TestWhoHasLanes:
    def test_not_few_items_nor_one_thread(self, two_threads: None) -> None:
        assert has(model(Forgetful()), items=16) and not has(model(Forgetful()), items=15)
        torch.set_num_threads(1)
        assert not has(model(Forgetful()))

    def test_not_a_class_of_ones_own(self, two_threads: None) -> None:
        class Mine(ModuleEncoder):
            pass

        assert not has(Mine(Forgetful(), Preprocess(16, 18))), "it may keep what its base does not"
        Mine.copyable = True
        assert has(Mine(Forgetful(), Preprocess(16, 18))), "it says so itself"
        assert not has(type("Another", (Mine,), {})(Forgetful(), Preprocess(16, 18))), "nobody inherits that"
        patched = model(Forgetful())
        patched.encode_images = lambda batch: batch.mean((2, 3))  # type: ignore[method-assign]
        assert not has(patched)

    def test_not_a_hooked_or_scripted_network(self, two_threads: None) -> None:
        hooked = Forgetful()
        hooked.last.register_forward_hook(lambda *given: None)
        assert not has(model(hooked))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer torch advises against it
            scripted = torch.jit.script(nn.Sequential(nn.Flatten()))
        assert not has(model(scripted))

    def test_not_a_network_that_cannot_be_copied(self, photographs: list[Path], two_threads: None) -> None:
        network = Forgetful()
        network.kept = [(number for number in range(2))]
        assert not has(model(network))
        assert rows(photographs, model(network)).shape == (40, 5)

    def test_not_without_a_network(self, two_threads: None) -> None:
        assert not has(load_encoder("pixels(size=4)"))


@pytest.mark.parametrize("given", [{}, {"batch_size": 3, "precision": "bfloat16"}])
def test_a_class_of_ones_own_that_says_so(photographs: list[Path], given: dict[str, Any], two_threads: None) -> None:
    class Mine(Encoder):
        """The size of its batch is kept on the encoder itself meanwhile."""

        copyable, name, dim = True, "mine", 5
        transform = Preprocess(16, 18)

        def __init__(self) -> None:
            self.module = Forgetful()
            self.size = 0

        def encode_images(self, batch: Tensor) -> Tensor:
            self.size = len(batch)
            found: Tensor = self.module(batch)  # type: ignore[misc]
            return found * (self.size / len(batch))

    encoder = Mine()
    assert has(encoder)
    found = rows(photographs, encoder, **given)
    torch.set_num_threads(1)
    torch.testing.assert_close(found, rows(photographs, encoder, **given), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strategy", ["linear-probe", "norm", "full", "lora(4)"])
def test_tuned_encoders(strategy: str, two_threads: None) -> None:
    def layers() -> ModuleEncoder:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 900, 16))
        return ModuleEncoder(network)

    tuned = tune(layers(), strategy, epochs=1)
    assert isinstance(tuned, Encoder) and tuned.computed_by is tuned.encoder
    assert has(tuned) and not has(tuned, "texts")
    source = pictures(40)
    found = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found[threads] = rows(source, tuned, batch_size=4)
    assert torch.equal(found[1], found[2])
    tuned.encode_images = lambda batch: batch.flatten(1)
    assert not has(tuned) and rows(source, tuned).shape == (40, 3072), "what was replaced counts"


def test_recordings(tmp_path: Path, two_threads: None) -> None:
    transformers = pytest.importorskip("transformers", reason="speech models are read by the extra 'text'")
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=(8, 8),
        conv_kernel=(10, 4), conv_stride=(5, 4), num_feat_extract_layers=2, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2, feat_extract_norm="layer", do_stable_layer_norm=True,
    )  # fmt: skip
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(tmp_path)
    encoder = load_encoder(f"transformers:{tmp_path}")
    generator = np.random.default_rng(0)
    waves = [generator.standard_normal(int(length)).astype(np.float32) for length in generator.integers(400, 900, 40)]
    waves[7] = waves[7][:20]
    source = AudioSource(waves, [0] * 40, rate=8000)
    assert has(encoder, "sounds", 40) and not has(encoder, "images", 40)
    found = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found[threads] = embed(source, encoder, cache=False, device="cpu", storage="float32", batch_size=4,
                               on_error="skip", progress=False)  # fmt: skip
    assert torch.equal(found[1].features, found[2].features)
    assert [entry["row"] for entry in found[2].report["skipped"]] == [7]
    assert found[1].report["skipped"] == found[2].report["skipped"]


def test_a_replica_shares_tensors_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    copied = replica(network)
    pairs = zip([*network.parameters(), *network.buffers()], [*copied.parameters(), *copied.buffers()], strict=True)
    assert all(a.data_ptr() == b.data_ptr() for a, b in pairs)
    assert all(a is not b for a, b in zip(network.modules(), copied.modules(), strict=True))
    assert network.training and not copied.training

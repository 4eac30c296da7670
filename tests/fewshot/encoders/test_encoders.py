"""The encoder contract, spec strings, and `ModuleEncoder`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fewshot import list_encoders, load_encoder
from fewshot.cache import UnfingerprintableError
from fewshot.encoders import Encoder, ModuleEncoder, Pixels, Preprocess


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 4),
    )  # fmt: skip


def photograph(width: int = 50, height: int = 36, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


class Tokens(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(2).mT  # [B, T, D]


class Unfinished(nn.Module):
    """Fails behind its first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        self.stem(images)
        raise AssertionError("computed behind the layer that was asked for")


class TestSpecs:
    def test_families_are_listed(self) -> None:
        assert {"pixels", "timm", "torchvision"} <= set(list_encoders())

    def test_options_are_passed(self) -> None:
        encoder = load_encoder("pixels(size=7, grey=True)")
        assert isinstance(encoder, Pixels)
        assert (encoder.size, encoder.grey, encoder.dim) == (7, True, 49)

    def test_an_encoder_passes_as_it_is(self) -> None:
        encoder = Pixels()
        assert load_encoder(encoder) is encoder

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("torchvison:resnet18", "did you mean 'torchvision'"),
            ("torchvision:resnet17", "did you mean 'resnet1"),
            ("timm:resnet19x", "did you mean 'resnet1"),
            ("timm", 'write "timm:MODEL"'),
            ("pixels(siz=3)", "did you mean 'size'"),
            ("pixels:x", "'pixels' has no argument 'model'"),
            ("pixels(size=", "cannot read the spec"),
            ("timm:resnet18@a.safetensors(checkpoint='b')", "names its checkpoint twice"),
            ("pixels(grey=True)", "needs size"),
        ],
    )
    def test_wrong_specs_say_what_to_do(self, spec: str, message: str) -> None:
        with pytest.raises(ValueError, match="(?i)" + message.replace("(", r"\(")):
            load_encoder(spec)

    @pytest.mark.parametrize("family", ["timm:resnet18", "torchvision:resnet18"])
    def test_a_missing_checkpoint_is_named(self, family: str) -> None:
        with pytest.raises(FileNotFoundError, match=r"no checkpoint 'nowhere\.safetensors'"):
            load_encoder(f"{family}@nowhere.safetensors")

    @pytest.mark.parametrize("thing", [nn.Identity(), 3])
    def test_what_is_no_encoder_is_refused(self, thing: object) -> None:
        with pytest.raises(ValueError, match=r"ModuleEncoder"):
            load_encoder(thing)  # type: ignore[arg-type]


class TestPixels:
    def test_tensors_are_flattened(self) -> None:
        batch = torch.rand(3, 1, 4, 5)
        assert torch.equal(Pixels().encode_images(batch), batch.reshape(3, 20))

    def test_pictures_are_resized(self) -> None:
        encoder = Pixels(size=5)
        assert encoder.transform is not None
        image = photograph()
        expected = np.asarray(image.resize((5, 5), Image.Resampling.BILINEAR)).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(encoder.transform(image).numpy(), expected, atol=1e-7)

    def test_texts_are_refused(self) -> None:
        with pytest.raises(TypeError, match=r"does not encode texts; it encodes images"):
            Pixels().encode_texts(["a"])


class TestPreprocess:
    @pytest.mark.parametrize("size", [(50, 36), (36, 50), (40, 40), (300, 41)])
    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_it_equals_torchvision(self, size: tuple[int, int], interpolation: str) -> None:
        from torchvision import transforms

        mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
        theirs = transforms.Compose([
            transforms.Resize(32, transforms.InterpolationMode(interpolation)), transforms.CenterCrop(28),
            transforms.ToTensor(), transforms.Normalize(mean, std),
        ])  # fmt: skip
        ours = Preprocess(size=28, resize=32, mean=mean, std=std, interpolation=interpolation)
        image = photograph(*size)
        torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=1e-6)

    def test_it_equals_timm(self) -> None:
        from timm.data import create_transform

        image = photograph(61, 45)
        theirs = create_transform((3, 28, 28), interpolation="bicubic", crop_pct=0.875)
        ours = Preprocess(28, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic")
        torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=1e-6)

    def test_grey_images_become_three_channels(self) -> None:
        tensor = Preprocess(8, 8)(photograph().convert("L"))
        assert torch.equal(tensor[0], tensor[2])

    def test_without_resize_the_whole_image_is_squashed(self) -> None:
        image = photograph()
        expected = np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC)).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(Preprocess(8, None)(image).numpy(), expected, atol=1e-6)

    def test_the_image_is_not_changed(self) -> None:
        image = photograph()
        before = image.tobytes()
        Preprocess(8, 10, (0.5,) * 3, (0.5,) * 3)(image)
        assert image.tobytes() == before

    @pytest.mark.parametrize("wrong", [{"interpolation": "cubic"}, {"size": 0}, {"std": (0.0, 1.0, 1.0)}])
    def test_wrong_values_are_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=r"must be"):
            Preprocess(**{"size": 8, "resize": 8, **wrong})  # type: ignore[arg-type]


class TestModuleEncoder:
    def test_batch_normalisation_is_frozen_and_the_mode_kept(self) -> None:
        module = small_net()
        module[0].eval()
        encoder = ModuleEncoder(module)
        modes = [part.training for part in module.modules()]
        before = module[1].running_mean.clone()
        batch = torch.rand(4, 3, 8, 8)
        together = encoder.encode_images(batch)
        alone = torch.cat([encoder.encode_images(image.unsqueeze(0)) for image in batch])
        torch.testing.assert_close(together, alone)
        assert [part.training for part in module.modules()] == modes
        assert torch.equal(module[1].running_mean, before)

    def test_threads_may_share_a_module_in_training_mode(self) -> None:
        module = small_net()
        encoder, batch = ModuleEncoder(module), torch.rand(4, 3, 8, 8)
        expected, before = encoder.encode_images(batch), module[1].running_mean.clone()
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda _: encoder.encode_images(batch), range(200)))
        assert all(torch.equal(result, expected) for result in results)
        assert torch.equal(module[1].running_mean, before)
        assert module[1].training

    def test_any_layer_is_pooled(self) -> None:
        module, batch = small_net().eval(), torch.rand(2, 3, 8, 8)
        maps = module[0](batch)
        for pool, expected in {
            None: maps.mean((2, 3)),
            "max": maps.amax((2, 3)),
            "flatten": maps.flatten(1),
        }.items():
            torch.testing.assert_close(ModuleEncoder(module, layer="0", pool=pool).encode_images(batch), expected)
        assert not module[0]._forward_hooks

    def test_tokens_need_a_choice(self) -> None:
        batch = torch.rand(2, 3, 4, 4)
        with pytest.raises(ValueError, match=r"pool='mean', 'max' or 'cls'"):
            ModuleEncoder(Tokens()).encode_images(batch)
        first = ModuleEncoder(Tokens(), pool="cls").encode_images(batch)
        assert torch.equal(first, batch[:, :, 0, 0])

    def test_nothing_behind_the_layer_is_computed(self) -> None:
        assert ModuleEncoder(Unfinished(), layer="stem").encode_images(torch.rand(2, 3, 8, 8)).shape == (2, 5)

    def test_a_layer_that_is_not_used_is_an_error(self) -> None:
        class Loose(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.loose = nn.Linear(2, 2)

            def forward(self, images: Tensor) -> Tensor:
                return images

        with pytest.raises(ValueError, match=r"'loose' .* is not used"):
            ModuleEncoder(Loose(), layer="loose").encode_images(torch.rand(1, 3, 4, 4))

    def test_wrong_layers_and_pools_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"unknown layer '7'"):
            ModuleEncoder(small_net(), layer="7")
        with pytest.raises(ValueError, match=r"pool='sum'; it must be one of mean"):
            ModuleEncoder(small_net(), pool="sum")

    def test_it_is_differentiable(self) -> None:
        module = small_net()
        ModuleEncoder(module).encode_images(torch.rand(2, 3, 8, 8)).sum().backward()
        assert module[0].weight.grad is not None

    def test_dim_is_found_by_a_trial(self) -> None:
        assert ModuleEncoder(small_net(), Preprocess(8, 8)).dim == 4
        assert ModuleEncoder(small_net()).dim is None


class TestFingerprint:
    def of(self, **changes: object) -> str:
        arguments: dict[str, object] = {"transform": Preprocess(8, 10), **changes}
        module = arguments.pop("module", None) or small_net()
        return json.dumps(ModuleEncoder(module, **arguments).fingerprint, sort_keys=True)  # type: ignore[arg-type]

    def test_equal_encoders_have_equal_ones(self) -> None:
        assert self.of() == self.of()
        assert self.of(name="other") == self.of()

    def test_whatever_changes_the_features_changes_it(self) -> None:
        one_weight = small_net()
        with torch.no_grad():
            one_weight[0].weight[0, 0, 0, 0] += 1e-6
        statistics = small_net()
        statistics[1].running_mean[0] += 1e-6
        stride = small_net()
        stride[0].stride = (2, 2)
        variants = [
            self.of(), self.of(module=one_weight), self.of(module=statistics), self.of(module=stride),
            self.of(layer="2"), self.of(layer="2", pool="max"), self.of(version="2"), self.of(transform=None),
            self.of(transform=Preprocess(8, 11)), self.of(transform=Preprocess(8, 10, mean=(0.0, 0.0, 0.1))),
            self.of(transform=Preprocess(8, 10, interpolation="bilinear")),
        ]  # fmt: skip
        assert len(set(variants)) == len(variants)

    def test_it_follows_training(self) -> None:
        encoder = ModuleEncoder(small_net(), Preprocess(8, 10))
        before = encoder.fingerprint
        with torch.no_grad():
            encoder.module[5].bias[0] += 1.0  # type: ignore[index]
        assert encoder.fingerprint != before

    def test_what_has_no_identity_is_refused_unless_it_has_a_version(self) -> None:
        module = small_net()
        module.held = iter([1])  # type: ignore[assignment]  # an iterator shows no state
        with pytest.raises(UnfingerprintableError, match=r"version="):
            _ = ModuleEncoder(module, Preprocess(8, 10)).fingerprint
        assert ModuleEncoder(module, Preprocess(8, 10), version="1").fingerprint["architecture"] == "see version"

    def test_it_is_the_same_in_every_process(self) -> None:
        program = (
            "import json, torch; from fewshot.encoders import ModuleEncoder, Preprocess\n"
            "torch.manual_seed(0)\n"
            "net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.ReLU(), torch.nn.GELU())\n"
            "print(json.dumps(ModuleEncoder(net, Preprocess(8, 10)).fingerprint, sort_keys=True))"
        )
        printed = {
            subprocess.run(
                [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
                capture_output=True, text=True,
            ).stdout
            for seed in ("1", "2")
        }  # fmt: skip
        assert len(printed) == 1
        assert "digest" in printed.pop()


def test_an_encoder_says_what_it_encodes() -> None:
    class Reader(Encoder):
        def encode_texts(self, texts: object) -> Tensor:
            return torch.zeros(len(texts), 2)  # type: ignore[arg-type]

    assert Reader().encodes("texts")
    assert not Reader().encodes("images")
    with pytest.raises(TypeError, match=r"does not encode images; it encodes texts"):
        Reader().encode_images(torch.zeros(1, 3, 2, 2))

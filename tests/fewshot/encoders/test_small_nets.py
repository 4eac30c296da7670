"""Small networks as encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from episodes import TensorSource
from fewshot import embed, load_encoder
from fewshot.encoders.small_nets import Resized
from fewshot.nets.conv4 import Conv4


def test_weights_are_those_of_the_seed_and_the_callers_random_numbers_are_untouched() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (load_encoder(f"net:conv4(channels=8{seed})") for seed in ("", "", ", seed=1"))
    assert torch.equal(before, torch.get_rng_state())
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert one.name == "net:conv4(channels=8)" and other.name == "net:conv4(seed=1, channels=8)"
    assert one.dim == 8 and load_encoder("net:resnet12(item_shape=(3, 21, 21), widths=(4, 4, 4, 8))").dim == 8


def test_pictures_are_resized_and_rows_of_features_are_given_as_they_are() -> None:
    encoder = load_encoder("net:conv4(item_shape=(1, 16, 16), channels=4)")
    pixels = torch.randint(0, 256, (3, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    features = embed(TensorSource(pixels, [0, 1, 2]), encoder, cache=False, progress=False, storage="float32").features
    torch.testing.assert_close(features, encoder.encode_images(pixels.float() / 255), rtol=1e-5, atol=1e-6)
    large = TensorSource(pixels.repeat_interleave(2, 2).repeat_interleave(2, 3), [0, 1, 2])
    assert embed(large, encoder, cache=False, progress=False).features.shape == (3, 4)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8))
    assert Resized(3, 10, 10)(photo).shape == (3, 10, 10) and Resized(1, 8, 6)(photo).shape == (1, 8, 6)
    rows = torch.randn(5, 7)
    perceptron = load_encoder("net:mlp(item_shape=(7,), widths=(6, 4))")
    found = embed(TensorSource(rows, [0] * 5), perceptron, cache=False, progress=False, storage="float32").features
    torch.testing.assert_close(found, perceptron.encode_images(rows))


def test_a_checkpoint_gives_the_weights(tmp_path: Path) -> None:
    net = Conv4((1, 28, 28), channels=4)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    encoder = load_encoder(f"net:conv4@{tmp_path / 'net.safetensors'}(channels=4)")
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in encoder.module.state_dict().items())  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="does not fit net:conv4"):
        load_encoder(f"net:conv4@{tmp_path / 'net.safetensors'}(channels=8)")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("net:conv5", "did you mean 'conv4'"),
        ("net:conv4(widths=(3,))", "no argument 'widths'"),
        ("net:conv4(item_shape=(2, 8, 8))", "1 or 3 channels"),
        ("net", "names no model"),
    ],
)
def test_what_is_no_net_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_encoder(spec)

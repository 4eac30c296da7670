"""Fingerprints: the same everywhere for the same thing, different for anything that computes differently."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2

from fewshot.cache.fingerprint import UnfingerprintableError, canonical, describe, digest_weights, item_key


def scaled(image, factor=2.0):  # type: ignore[no-untyped-def]
    return image * factor


def holding(factor):  # type: ignore[no-untyped-def]
    def inner(image):  # type: ignore[no-untyped-def]
        return image * factor

    return inner


class Callable:
    def __init__(self, mean: float) -> None:
        self.mean = mean

    def __call__(self, image):  # type: ignore[no-untyped-def]
        return image - self.mean


def preprocess(module, size=224, interpolation=InterpolationMode.BICUBIC, antialias=True, mean=0.5):  # type: ignore[no-untyped-def]
    resize = module.Resize(size, interpolation=interpolation, antialias=antialias)
    return module.Compose([resize, module.CenterCrop(224), module.Normalize([mean] * 3, [0.5] * 3)])


def test_items_are_known_by_content() -> None:
    assert item_key("file", b"abc") == item_key("file", b"abc")
    assert len(item_key("file", b"abc")) == 16
    zeros = torch.zeros(2, 6)
    others = [
        item_key("file", b"abd"), item_key("text", b"abc"), item_key("file", b"abc", view=0),
        item_key("file", b"abc", view=1), item_key("file", b"abc", view=1, seed=3), item_key("tensor", zeros),
        item_key("tensor", zeros.reshape(3, 4)), item_key("tensor", zeros.double()), item_key("tensor", zeros.int()),
        item_key("text", "abc "), item_key("filea", b"bc"),
    ]  # fmt: skip
    assert len({item_key("file", b"abc"), *others}) == len(others) + 1
    assert item_key("text", "café") == item_key("text", "café".encode())
    assert item_key("tensor", zeros) == item_key("tensor", zeros.numpy())
    strided = torch.arange(12.0).reshape(3, 4).T
    assert item_key("tensor", strided) == item_key("tensor", strided.contiguous())


def test_weights_are_known_by_their_bytes() -> None:
    make = lambda: torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))  # noqa: E731
    with torch.random.fork_rng():
        a, b = make(), make()
        assert digest_weights(a) != digest_weights(b)
        b.load_state_dict(a.state_dict())
        assert digest_weights(a) == digest_weights(b)
        with torch.no_grad():
            b[0].weight[0, 0] += 1e-6
        assert digest_weights(a) != digest_weights(b)
        b.load_state_dict(a.state_dict())
        b[1].running_mean += 1  # buffers count
        assert digest_weights(a) != digest_weights(b)
        assert digest_weights(a) != digest_weights(a.double())


@pytest.mark.parametrize("module", [v1, v2])
def test_preprocessing_is_known_by_value(module) -> None:  # type: ignore[no-untyped-def]
    base = canonical(describe(preprocess(module)))
    assert canonical(describe(preprocess(module))) == base
    for change in ({"size": 256}, {"interpolation": InterpolationMode.BILINEAR}, {"antialias": False}, {"mean": 0.48}):
        assert canonical(describe(preprocess(module, **change))) != base, change


def test_functions_are_known_by_source_defaults_and_what_they_hold() -> None:
    described = [
        describe(scaled), describe(holding(2)), describe(holding(3)), describe(functools.partial(scaled, factor=3)),
        describe(functools.partial(scaled, factor=4)), describe(Callable(0.1)), describe(Callable(0.2)),
        describe(Callable(0.1).__call__), describe(np.float32(1)), describe(torch.zeros(3)), describe({1, 2}), describe({1}),
        describe({"a": 1}), describe([1, 2]), describe(b"x"), describe(Path("a")), describe(torch.float16), describe(1.5),
    ]  # fmt: skip
    assert len({canonical(one) for one in described}) == len(described)
    assert describe(holding(2)) == describe(holding(2))
    assert describe({"b": 1, "a": 2}) == describe({"a": 2, "b": 1})


def test_what_has_no_identity_is_refused() -> None:
    made: dict[str, object] = {}
    exec("def nowhere(x): return x", made)
    loop: list[object] = []
    loop.append(loop)
    for thing in (made["nowhere"], object(), iter([1]), loop):
        with pytest.raises(UnfingerprintableError, match="give version="):
            describe(thing)
    for thing in (float("nan"), {1, 2}, object()):
        with pytest.raises(UnfingerprintableError, match="not plain JSON"):
            canonical(thing)


def test_the_same_in_any_process() -> None:
    code = """
import sys; sys.path.insert(0, {folder!r})
from test_cache_fingerprint import *
print(canonical(describe(preprocess(v2))).hex(), canonical(describe({{"x", "y", "z"}})).hex(),
      canonical(describe(holding({{"q": 1, "r": 2}}))).hex(), item_key("text", "hello", view=1).hex())
"""
    code = code.format(folder=str(Path(__file__).parent))
    outputs = set()
    for seed in ("0", "1", "12345"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1

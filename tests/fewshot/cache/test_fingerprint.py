"""Content keys: the same everywhere for the same item, different for any other."""

from __future__ import annotations

import subprocess
import sys

import torch

from fewshot.cache.fingerprint import item_key


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


def test_the_same_in_any_process() -> None:
    code = "from fewshot.cache.fingerprint import item_key; print(item_key('text', 'hello', view=1).hex())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("0", "12345")
    }
    assert outputs == {item_key("text", "hello", view=1).hex() + "\n"}

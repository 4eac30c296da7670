"""`KeyIndex`: keys of 16 bytes are found by both halves."""

from __future__ import annotations

import numpy as np

from fewshot.cache.index import KeyIndex


def test_keys_with_equal_halves_are_distinguished() -> None:
    keys = np.zeros((50, 16), np.uint8)
    keys[:, 15] = np.arange(50)  # equal first halves
    other = np.zeros((50, 16), np.uint8)
    other[:, 0] = np.arange(50)  # equal second halves
    table = np.concatenate([keys, other[1:]])
    order = np.random.default_rng(0).permutation(len(table))
    index = KeyIndex(table[order])
    np.testing.assert_array_equal(order[index.find(table)], np.arange(len(table)))
    assert (index.find(np.full((3, 16), 255, np.uint8)) == -1).all()
    assert (KeyIndex(table[:0]).find(keys) == -1).all()

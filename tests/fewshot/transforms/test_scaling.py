"""Transforms of single rows follow their formulas."""

from __future__ import annotations

import numpy as np

from episodes import Episode
from fewshot.transforms import load_transform


def test_l2_and_power_follow_their_formulas(episode: Episode) -> None:
    query = episode.query.numpy()
    expected = query / np.linalg.norm(query, axis=-1, keepdims=True)
    np.testing.assert_allclose(load_transform("l2")(episode.query, None), expected, rtol=1e-5)
    expected = np.sign(query) * np.abs(query) ** 0.3
    # The constant that keeps the derivative at zero finite moves values by at most 1e-6 ** 0.3.
    np.testing.assert_allclose(load_transform("power(beta=0.3)")(episode.query, None), expected, atol=1.1e-6**0.3)

"""The digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np
import torch

from episodes import load_dataset


def test_digits() -> None:
    from sklearn.datasets import load_digits

    source = load_dataset("digits")
    data, target = load_digits(return_X_y=True)
    assert (source.name, source.kind, source.class_names) == ("digits", "features", list("0123456789"))
    np.testing.assert_array_equal(source.labels.numpy(), target)
    np.testing.assert_array_equal(source[torch.arange(1797)].numpy(), data.astype(np.float32) / 16)

"""Fixtures of the tests of classifiers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


@pytest.fixture
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """50 labelled digits and 400 others: X, y, X_new, y_new."""
    X, y = load_digits(return_X_y=True)
    X, X_new, y, y_new = train_test_split(X / 16, y, train_size=50, test_size=400, stratify=y, random_state=0)
    return X, y, X_new, y_new

"""Real handwritten digits that come with scikit-learn: no download."""

from __future__ import annotations

import numpy as np

from episodes.source import TensorSource


def digits(part: str = "") -> TensorSource:
    """1,797 handwritten digits as 8 x 8 grey levels in 0..1, features ``[1797, 64]``.

    Args:
        part: ``"images"``: as pictures ``[1797, 1, 8, 8]``, for encoders.

    Raises:
        ValueError: another part.

    Reference: Alpaydin, Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository
    1998; the test part, as in `sklearn.datasets.load_digits`.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError('digits come with scikit-learn; install it: pip install "scikit-learn"') from None

    if part not in ("", "images"):
        raise ValueError(f"digits have no part {part!r}; write 'digits' or 'digits:images'.")
    bunch = load_digits()
    rows = (bunch.data / 16).astype(np.float32)  # [1797, 64], levels 0..16
    name = "digits:images" if part else "digits"
    rows = rows.reshape(-1, 1, 8, 8) if part else rows
    return TensorSource(rows, bunch.target, [str(name) for name in bunch.target_names], name=name)

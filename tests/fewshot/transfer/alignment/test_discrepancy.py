"""Distances of two domains against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from alignment_examples import pair

from fewshot.transfer.alignment import load_alignment


def test_deep_coral_against_numpy() -> None:
    s, t = pair()
    cs, ct = (np.cov(x.detach().numpy(), rowvar=False) for x in (s, t))
    wanted = 2.5 * np.linalg.norm(cs - ct) ** 2 / (4 * 4**2)
    assert float(load_alignment("deep-coral(2.5)")(s, t, 0.0).detach()) == pytest.approx(wanted, rel=1e-12)
    assert float(load_alignment("deep-coral")(s, s + 3, 0.0).detach()) == pytest.approx(0, abs=1e-12)


def test_mmd_against_numpy() -> None:
    s, t = pair()
    x, y = s.detach().numpy(), t.detach().numpy()
    both = np.concatenate([x, y])
    squares = sorted(((a - b) ** 2).sum() for i, a in enumerate(both) for j, b in enumerate(both) if i != j)
    middle = squares[(len(squares) - 1) // 2]

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([np.exp(-((a - b) ** 2).sum() / (2.0**i * middle)) for i in (-1, 0, 1)]))

    wanted = (np.mean([k(a, b) for a in x for b in x]) + np.mean([k(a, b) for a in y for b in y])
              - 2 * np.mean([k(a, b) for a in x for b in y]))  # fmt: skip
    found = load_alignment("mmd(weight=2, kernels=3)")(s, t, 0.0)
    assert float(found.detach()) == pytest.approx(2 * wanted, rel=1e-10)
    assert all(part.isfinite().all() for part in torch.autograd.grad(found, [s, t]))

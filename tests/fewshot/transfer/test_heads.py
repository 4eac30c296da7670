"""Heads to begin from, and interpolation with the frozen weights."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from tuning_examples import CLASSES, conv4, pictures, state, tune

from episodes.identity import digest
from fewshot import embed
from fewshot.transfer.heads import first_head


def test_heads_that_fit_from_the_beginning() -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(20) % 4
    rows = torch.randn(4, 9, generator=random)[labels] + 0.1 * torch.randn(20, 9, generator=random) + 50
    means = torch.stack([rows[labels == c].mean(0) for c in range(4)])
    weight, bias = first_head("prototypes", rows, labels, 4)
    logits, distances = rows @ weight.T + bias, -torch.cdist(rows, means).square()
    ratio = (logits - logits.mean(1, keepdim=True)) / (distances - distances.mean(1, keepdim=True))
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-2, atol=0.0)
    for kind in ("prototypes", "ridge"):
        for wide in (rows, torch.cat([rows, 0.1 * torch.randn(20, 40, generator=random)], 1)):
            weight, bias = first_head(kind, wide, labels, 4)
            assert ((wide @ weight.T + bias).argmax(1) == labels).all()
            loss = float(F.cross_entropy(wide @ weight.T + bias, labels))
            assert 0.001 < loss < 0.3, (kind, loss)
    alone = first_head("prototypes", means, torch.arange(4), 4)
    assert all(value.isfinite().all() for value in alone)


def test_left_out_rows_of_ridge_by_refitting(monkeypatch: pytest.MonkeyPatch) -> None:
    from fewshot.transfer import heads

    seen = []
    monkeypatch.setattr(heads, "fit_temperature", lambda logits, labels: seen.append(logits) or 1.0)
    random, labels = torch.Generator().manual_seed(0), torch.arange(12) % 3
    for width in (4, 30):
        rows = torch.randn(12, width, generator=random).double()
        first_head("ridge", rows, labels, 3)
        centred = rows - rows.mean(0)
        penalty = centred.square().sum(1).mean()
        for out in range(12):
            kept = torch.arange(12) != out
            x, y = rows[kept], F.one_hot(labels, 3).double()[kept]
            x0, y0 = x.mean(0), y.mean(0)
            w = torch.linalg.solve((x - x0).T @ (x - x0) + penalty * torch.eye(width).double(), (x - x0).T @ (y - y0))
            torch.testing.assert_close(seen[-1][out], (rows[out] - x0) @ w + y0)


@pytest.mark.parametrize("strategy", ["full", "lora(2)", "last(1)"])
def test_interpolation_from_the_frozen_to_the_tuned(strategy: str) -> None:
    encoder = conv4()
    tuned, frozen, half = (tune(encoder, strategy, lr=1e-2, wise=share) for share in (1.0, 0.0, 0.5))
    plain = tune(encoder, strategy, lr=1e-2)
    assert all(torch.equal(value, state(plain)[name]) for name, value in state(tuned).items())
    assert all(torch.equal(value, state(encoder)[name]) for name, value in state(frozen).items())
    assert frozen.changed == [] and digest(frozen.fingerprint) == digest(encoder.fingerprint)
    for name, value in state(half).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (state(encoder)[name] + state(plain)[name]) / 2)
    start = first_head("prototypes", embed(pictures(), encoder, cache=False, storage="float32").features,
                       pictures().labels, CLASSES)[0]  # fmt: skip
    torch.testing.assert_close(frozen.head.weight, start)
    torch.testing.assert_close(half.head.weight, (start + plain.head.weight) / 2)

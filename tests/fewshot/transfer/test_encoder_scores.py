"""Scores of an encoder, by slow references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from advice_examples import conv4, halves, pictures
from torch import nn

from fewshot.encoders import load_encoder
from fewshot.transfer import leep, left_out_mean, left_out_ridge, linear_cka, logme, mmd, nce, score_encoder

RANDOM = np.random.default_rng(0)


def test_left_out_mean_by_a_loop() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 3])
    rows = RANDOM.normal(size=(10, 5)) + labels[:, None]
    unit = rows - rows.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    right = []
    for i in range(9):  # the last is alone in its class
        kept = np.arange(10) != i
        means = [unit[kept & (labels == c)].mean(0) for c in range(4)]
        right.append(np.argmin([((unit[i] - mean) ** 2).sum() for mean in means]) == labels[i])
    assert left_out_mean(rows, labels) == pytest.approx(np.mean(right))
    with pytest.raises(ValueError, match="each of the 10 classes has one row"):
        left_out_mean(rows, np.arange(10))


@pytest.mark.parametrize("width", [4, 40])
def test_left_out_ridge_by_fitting_without_each_row(width: int) -> None:
    labels = np.arange(24) % 3
    rows = RANDOM.normal(size=(24, width))
    rows[:, 0] += labels
    one_hot, centred = np.eye(3)[labels], rows - rows.mean(0)
    scale = (centred**2).sum() / 24
    best = (np.inf, 0.0)
    for penalty in np.logspace(-4, 2, 13) * scale:
        answers = []
        for i in range(24):
            kept = np.arange(24) != i
            x, y = rows[kept], one_hot[kept]
            moved = x - x.mean(0)
            weight = np.linalg.solve(moved.T @ moved + penalty * np.eye(width), moved.T @ (y - y.mean(0)))
            answers.append((rows[i] - x.mean(0)) @ weight + y.mean(0))
        found = np.array(answers)
        best = min(best, (((one_hot - found) ** 2).sum(), float(np.mean(found.argmax(1) == labels))))
    assert left_out_ridge(rows, labels) == pytest.approx(best[1], abs=1e-9)


def test_all_scores_of_an_encoder() -> None:
    encoder, source = conv4(), pictures(24)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        encoder.source_head = nn.Linear(16, 5)
    near = pictures(20, seed=3)
    found = score_encoder(encoder, source, like=near, cache=False, device="cpu")
    rows = encoder.encode_images(source.features).detach().double()
    spread = rows.std(0, correction=0)
    scaled = (rows - rows.mean(0)) / torch.where(spread > 0, spread, 1.0)
    posteriors = encoder.source_head(rows.float()).double().softmax(1).detach()
    assert found.logme == pytest.approx(logme(scaled, source.labels), abs=1e-6)
    assert found.leep == pytest.approx(leep(posteriors, source.labels), abs=1e-6)
    assert found.nce == pytest.approx(nce(posteriors.argmax(1), source.labels))
    assert list(found.cka) == ["layers.0", "layers.4"]
    one_hot = torch.eye(3)[source.labels]
    first = encoder.module.layers[:4](source.features).mean((2, 3)).detach()  # type: ignore[index, operator]
    assert found.cka["layers.0"] == pytest.approx(linear_cka(first, one_hot), abs=1e-5)
    other = encoder.encode_images(near.features).detach().double()
    spread = other.std(0, correction=0)
    spread = torch.where(spread > 0, spread, spread.max())  # some units never fire
    sides = [(x - other.mean(0)) / spread for x in (other, rows)]
    assert found.mmd == pytest.approx(mmd(*sides), abs=1e-6)
    assert 0 <= found.a_distance <= 2  # type: ignore[operator]
    plain = score_encoder(halves(True), source, cache=False, device="cpu")
    assert plain.leep is None
    assert plain.nce is None
    assert plain.cka == {}


@pytest.mark.parametrize("family", ["timm:mobilenetv3_small_050", "torchvision:shufflenet_v2_x0_5"])
def test_encoders_keep_the_head_they_were_trained_with(family: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    kind, _, model = family.partition(":")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "timm":
            import timm

            net = timm.create_model(model, num_classes=7).eval()
        else:
            from torchvision import models

            net = models.get_model(model, weights=None, num_classes=7).eval()
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, tmp_path / "net.safetensors")
    encoder = load_encoder(f"{family}@{tmp_path / 'net.safetensors'}")
    batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = encoder.source_head(encoder.encode_images(batch))  # type: ignore[misc]
        assert torch.allclose(logits, net(batch), atol=1e-5)

"""What an encoder was trained on, and being asked about something else."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from episodes import load_dataset
from fewshot import FewShotClassifier, ZeroShotClassifier
from fewshot.encoders.domain import fit_domain, read_domain, save_domain

SCENES = load_dataset("scenes:shape", count=60, seed=5)
DRAWN = [Image.fromarray(rows) for rows in SCENES.features.permute(0, 2, 3, 1).numpy()]
RANDOM = np.random.default_rng(0)
NOISE = [Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(20)]


def test_distances_by_hand_and_the_limit(tmp_path: Path) -> None:
    features = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 7.0)
    domain = fit_domain(features[:300], features[300:])
    units = (features / features.norm(dim=1, keepdim=True)).double().numpy()
    covariance = np.cov(units[:300].T) + 1e-4 * np.diag(np.cov(units[:300].T)).mean() * np.eye(6)
    centred = units - units[:300].mean(0)
    expected = np.einsum("nd,de,ne->n", centred, np.linalg.inv(covariance), centred)
    np.testing.assert_allclose(domain.distance(features), expected, rtol=1e-3)
    assert 0 < float(domain.outside(features[300:]).double().mean()) <= 0.015
    save_domain(domain, tmp_path)
    assert all(torch.equal(one, other) for one, other in zip(read_domain(tmp_path), domain, strict=True))


def test_the_bundled_model_says_when_it_is_asked_about_no_scenes(caplog: pytest.LogCaptureFixture) -> None:
    classifier = ZeroShotClassifier("fewshot:tiny-clip", cache=False).fit(None, SCENES.class_names)
    assert not classifier.encoder_.domain.outside(classifier.features(DRAWN)).float().mean() > 0.05
    assert classifier.encoder_.domain.outside(classifier.features(NOISE)).all()
    with caplog.at_level(logging.WARNING, logger="fewshot"):
        caplog.clear()
        classifier.predict(DRAWN)
        assert not caplog.records
        classifier.predict(NOISE)
    assert "20 of 20 pictures are unlike all that fewshot:tiny-clip was trained on" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="fewshot"):
        for picture in NOISE[:3]:  # as a service is asked
            classifier.predict([picture])
        assert not caplog.records
        other = ZeroShotClassifier("fewshot:tiny-clip", cache=False).fit(None, SCENES.class_names)
        for picture in NOISE[:3]:
            other.predict([picture])
    assert caplog.text.count("1 of 1 pictures are unlike") == 1
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="fewshot"):
        FewShotClassifier("fewshot:tiny-clip", cache=False).fit(NOISE[:4], list("aabb"))
        texts = FewShotClassifier("fewshot:tiny-clip", cache=False).fit(["red", "blue"], [0, 1])
        assert "4 of 4" in caplog.text
        caplog.clear()
        texts.predict(["a text"])
    assert not caplog.records


def test_photographs_are_outside(shared_data: Path) -> None:
    classifier = ZeroShotClassifier("fewshot:tiny-clip", cache=False).fit(None, SCENES.class_names)
    photographs = sorted((shared_data / "imagenet_samples" / "short256").glob("*.jpg"))[:40]
    assert classifier.encoder_.domain.outside(classifier.features(photographs)).float().mean() > 0.8

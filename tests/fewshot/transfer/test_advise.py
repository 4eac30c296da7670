"""Advice: the encoder that serves, negative transfer, what is printed and refused."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from advice_examples import conv4, halves, pictures
from torch import Tensor, nn

from episodes import TensorSource, TextSource
from fewshot import advise
from fewshot.cli import main
from fewshot.encoders import Encoder, load_encoder
from fewshot.transfer import NegativeTransferWarning, negative_transfer
from fewshot.transfer.candidates import make_candidates
from fewshot.transfer.folds import Folds


@pytest.fixture(scope="module")
def advice(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("advice") / "out.jsonl"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = advise(
            pictures(45, noise=0.5), [halves(True), conv4()], ["logistic", "full", "last(9)", "scratch"], minutes=60, epochs=2,
            like=pictures(12, seed=5), out=out, cache=False, device="cpu", progress=False,
        )  # fmt: skip
    return found, out


def test_advice_finds_the_encoder_that_serves(advice: Any) -> None:
    found, _ = advice
    assert found.choice.encoder == "left"
    assert found.warning is None
    assert [rival.helps for rival in found.transfer.rivals if rival.kind == "trivial"] == [True]
    best = max(option.accuracy for option in found.options if option.result is not None)
    assert found.choice.accuracy == best > 0.6
    paired = [option.comparison.difference for option in found.options if option.comparison is not None]
    assert paired == sorted(paired, reverse=True)
    assert {rival.kind for rival in found.transfer.rivals} == {"trivial", "encoder", "scratch"}
    assert any("last(9)" in limit and "not possible" in limit for limit in found.limits)


def test_what_is_printed_and_written(advice: Any) -> None:
    found, _ = advice
    text = str(found)
    for words in ("toy: 45 rows of 3 classes; 5 folds", "Before training", "Tried on held-out rows", "Choice: left",
                  "Why", "Does pretraining help?", "What this cannot tell", "pixels(size=32)"):  # fmt: skip
        assert words in text
    assert repr(found).startswith("Advice('toy', 45 rows, choice: 'left'")
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read["choice"]["encoder"] == "left"
    assert len(read["options"]) == 9
    table = list(csv.reader(io.StringIO(found.to_csv())))
    assert len(table) == 10
    assert {len(row) for row in table} == {13}
    assert found.choice.code.startswith(("FewShotClassifier('left'", "fine_tune('left'"))


def test_the_same_call_reads_its_file(advice: Any) -> None:
    found, out = advice
    lines = out.read_text()
    again = advise(
        pictures(45, noise=0.5), [halves(True), conv4()], ["logistic", "full", "last(9)", "scratch"], minutes=60, epochs=2,
        layers=False, out=out, cache=False, device="cpu", progress=False,
    )  # fmt: skip
    assert out.read_text() == lines
    assert [option.name for option in again.options if option.result] == [o.name for o in found.options if o.result]


def test_classes_of_uneven_size_are_spoken_of() -> None:
    """A large class decides an accuracy over rows; what its fold answered of each class is found again by hand."""
    even = pictures(60, noise=0.4)
    kept = (even.labels == 0) | (torch.arange(60) < 12)
    source = TensorSource(even.features[kept], even.labels[kept], even.class_names, name="toy")
    given: dict[str, Any] = {"strategies": ["logistic"], "cache": False, "device": "cpu", "progress": False}
    found = advise(source, halves(True), minutes=60, **given)
    (said,) = [limit for limit in found.limits if limit.startswith("classes have 4 to 20 rows")]
    folds = Folds(source)
    asked = torch.cat([folds.rows(fold, folds.largest)[1] for fold in range(folds.count)])
    assert found.choice is not None and found.choice.result is not None
    right = found.choice.result.scores
    shares = [right[(source.labels[asked] == label).numpy()].mean() for label in range(3)]
    assert f"the mean over classes of the choice is {100 * sum(shares) / 3:.1f} %" in said
    assert f"would be right in {100 * 20 / 28:.1f} % of the rows" in said
    assert not any("classes have" in limit for limit in advise(even, halves(True), minutes=60, **given).limits)


def test_without_minutes_only_scores(advice: Any) -> None:
    found = advise(pictures(), halves(True), minutes=0, cache=False, device="cpu", progress=False)
    assert found.choice is None
    assert found.verdict == "undecided"
    assert [one.encoder for one in found.scores] == ["left", "pixels(size=32)"]
    assert "nothing was trained" in str(found)


def test_a_network_that_does_harm_is_caught_and_one_that_serves_is_not() -> None:
    source = pictures(60, noise=0.2)
    options: dict[str, Any] = {"epochs": 3, "cache": False, "device": "cpu"}
    with pytest.warns(NegativeTransferWarning, match="no network at all .* points better than right, logistic"):
        bad = negative_transfer(halves(False), source, rivals=[halves(True)], **options)
    assert (bad.verdict, bad.harmful) == ("no transfer", True)
    assert [rival.hurts for rival in bad.rivals if rival.kind == "trivial"] == [True]
    assert [rival.hurts for rival in bad.rivals if rival.kind == "encoder"] == [True]
    assert "worse than no network at all" in str(bad)
    good = negative_transfer(halves(True), pictures(60, noise=0.5), **options)
    assert not good.harmful
    assert good.warning is None
    assert [rival.helps for rival in good.rivals if rival.kind == "trivial"] == [True]
    same = halves(True)
    same.name = "right"  # names do not decide what is compared
    named = negative_transfer(halves(False), source, rivals=[same], scratch=False, baseline=None, **options)
    assert named.rivals[0].hurts


def test_random_labels_are_undecided() -> None:
    source = pictures(60)
    labels = source.labels[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    blind = TensorSource(source.features, labels, source.class_names)
    found = negative_transfer(halves(True), blind, epochs=2, cache=False, device="cpu")
    assert found.verdict == "undecided"
    assert all(rival.needed is None or rival.needed >= 60 for rival in found.rivals)
    json.dumps(found.to_dict(), allow_nan=False)


class Lengths(Encoder):
    """Texts by their length alone."""

    name, dim = "lengths", 1
    fingerprint = {"family": "lengths"}  # type: ignore[assignment]  # noqa: RUF012

    def __init__(self) -> None:
        self.module = nn.Linear(1, 1)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float(len(text))] for text in texts])


def test_texts_are_compared_with_their_words() -> None:
    words = {"fruit": "apple pear plum", "tools": "hammer saw drill"}
    texts = [f"{word} {other}" for held in words.values() for word in held.split() for other in held.split()] * 2
    labels = ["fruit"] * 9 + ["tools"] * 9
    source = TextSource(texts, labels * 2, name="words")
    with pytest.warns(NegativeTransferWarning, match=r"tf-idf, logistic"):
        found = negative_transfer(Lengths(), source, scratch=False, cache=False, device="cpu")
    assert found.rivals[0].comparison.b == "tf-idf, logistic"
    assert found.rivals[0].hurts


def test_spoken_digits_are_a_real_case(shared_data: Path) -> None:
    """ImageNet features against pixels on pictures of sounds, and on photographs of objects."""
    with np.load(shared_data / "transfer" / "spoken_digits" / "fsdd_logmel.npz") as file:
        chosen = np.flatnonzero(file["take"] < 2)
        rows = torch.from_numpy(file["X"][chosen]).unsqueeze(1).expand(-1, 3, -1, -1)
        spoken = TensorSource(rows.contiguous(), file["y"][chosen], name="spoken digits")
    weights = shared_data / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    options = "num_classes=1001, pad_type='same', mean=0.5, std=0.5, size=64, crop=1.0"
    encoder = load_encoder(f"timm:mobilenetv2_100(checkpoint={str(weights)!r}, {options})")
    with pytest.warns(NegativeTransferWarning):
        found = negative_transfer(encoder, spoken, scratch=False, cache=False, device="cpu")
    assert found.verdict == "no transfer"
    from episodes import ImageSource

    folder = shared_data / "transfer" / "office_caltech10" / "images224" / "dslr"
    objects = ImageSource.from_folder(folder, size=64, name="objects")
    kind = negative_transfer(encoder, objects, scratch=False, cache=False, device="cpu")
    assert (kind.verdict, kind.warning) == ("transfer", None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoders": []}, "encoders is empty"),
        ({"encoders": [halves(True), halves(True)]}, "two encoders are called 'left'"),
        ({"strategies": ["fulll"]}, "'logistic' is logistic regression on frozen features"),
        ({"baseline": halves(False)}, "baseline='right' is a network; give one without"),
        ({"minutes": -1}, "minutes=-1; it must be 0"),
        ({"epochs": 0}, "epochs=0; it must be a whole number, at least 1"),
        ({"folds": 1}, "folds=1; there must be at least 2"),
        ({"source": pictures(4)}, "has 1 row of class 'class 1' .and 1 more such classes.; nothing can be held out"),
        ({"source": TensorSource(torch.rand(5, 3, 8, 8), [0] * 5)}, "has 1 class; advice needs at least two"),
    ],
)
def test_bad_input(change: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"source": pictures(), "encoders": halves(True), **change}
    with pytest.raises(ValueError, match=words):
        advise(**given, cache=False, progress=False)


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="there is nothing to compare"):
        negative_transfer("pixels(size=32)", pictures(), cache=False)
    assert [one.name for one in make_candidates([load_encoder("pixels")], ["full"])] == ["pixels, logistic"]


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    labels = np.arange(40) % 2
    rows = (np.random.default_rng(0).random((40, 8, 8, 3)) * 100 + 100 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "rows.npz", X=rows, y=labels)
    words = ["advise", f"arrays:{tmp_path / 'rows.npz'}", "--encoder", "pixels(size=4)", "--minutes", "5", "--quiet"]
    words += ["--cache", str(tmp_path / "cache"), "--device", "cpu"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["choice"]["strategy"] == "logistic"
    assert found["rows"] == 40
    words[5] = "0"  # minutes
    assert main([*words, "--csv"]) == 0
    assert capsys.readouterr().out.startswith("rank,encoder,strategy")
    words[5] = "5"
    assert main(words) == 0
    assert "Choice: pixels" in capsys.readouterr().out
    assert main([*words, "--strategies", "everything"]) == 2
    assert "unknown strategy" in capsys.readouterr().err.lower()


def test_random_weights_are_trained_from_scratch_alone() -> None:
    fresh, taught = conv4(), conv4()
    fresh.pretrained = False
    found = make_candidates([fresh, taught], ["logistic", "full", "lora(2)", "scratch"])
    assert [one.strategy for one in found] == ["logistic", "scratch", "logistic", "full", "lora(2)", "scratch"]
    assert [one.strategy for one in make_candidates([fresh], ["logistic", "full"])] == ["logistic", "full"]
    assert not load_encoder("net:conv4(item_shape=(1, 8, 8), channels=4)").pretrained
    assert load_encoder("fewshot:conv4-omniglot").pretrained

"""Advice: scores by slow references, folds, the race and its budget, negative transfer, what is printed and refused."""

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
from torch import Tensor, nn

from episodes import TensorSource, TextSource
from fewshot import advise
from fewshot.cli import main
from fewshot.encoders import Encoder, ModuleEncoder, load_encoder
from fewshot.nets.conv4 import Conv4
from fewshot.transfer import (
    NegativeTransferWarning,
    leep,
    left_out_mean,
    left_out_ridge,
    linear_cka,
    logme,
    mmd,
    nce,
    negative_transfer,
    score_encoder,
)
from fewshot.transfer.candidate import Candidate, Cost, Setting
from fewshot.transfer.candidates import Tunes, make_candidates
from fewshot.transfer.folds import Folds, Store
from fewshot.transfer.race import Race
from fewshot.transfer.race_entry import Clock

RANDOM = np.random.default_rng(0)


def pictures(rows: int = 30, classes: int = 3, noise: float = 0.3, seed: int = 0) -> TensorSource:
    """Pictures whose class is the colour of their left half."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    pixels = 0.5 + noise * torch.randn(rows, 3, 8, 8, generator=random)
    pixels[torch.arange(rows), labels % 3, :, :4] += 0.25
    return TensorSource(pixels.clamp(0, 1), labels, [f"class {c}" for c in range(classes)], name="toy")


class Halves(nn.Module):
    """Mean colour of the left half: all that matters, or of the right half, which is noise."""

    def __init__(self, left: bool) -> None:
        super().__init__()
        self.left = left
        self.scale = nn.Linear(3, 3)
        with torch.no_grad():
            self.scale.weight.copy_(torch.eye(3))
            self.scale.bias.zero_()

    def forward(self, batch: Tensor) -> Tensor:
        half = batch[..., :4] if self.left else batch[..., 4:]
        rows: Tensor = self.scale(half.mean((2, 3)))
        return rows


def halves(left: bool) -> Encoder:
    return ModuleEncoder(Halves(left).eval(), name="left" if left else "right", dim=3)


def conv4() -> ModuleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModuleEncoder(Conv4((3, 8, 8), channels=4, blocks=2).eval(), name="conv4")


# Scores


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


# Folds


def test_folds_are_stratified_disjoint_and_nested() -> None:
    labels = torch.tensor([0] * 7 + [1] * 12 + [2] * 6)[torch.randperm(25, generator=torch.Generator().manual_seed(2))]
    source = TensorSource(torch.rand(25, 4), labels)
    folds = Folds(source, None, 0)
    assert (folds.count, folds.notes, folds.largest) == (5, [], 10)
    asked = torch.cat([folds.rows(fold, 10)[1] for fold in range(5)])
    assert sorted(asked.tolist()) == list(range(25))
    for fold in range(5):
        small, test = folds.rows(fold, 2)
        whole, same = folds.rows(fold, folds.largest)
        assert torch.equal(test, same)
        assert labels[small].bincount().tolist() == [2, 2, 2]
        assert set(small.tolist()) < set(whole.tolist())
        assert sorted([*whole.tolist(), *test.tolist()]) == list(range(25))
        assert (labels[test].bincount(minlength=3) - torch.tensor([7, 12, 6]) / 5).abs().max() < 1
    other = Folds(source, None, 1).rows(0, 10)[1]
    assert other.tolist() != folds.rows(0, 10)[1].tolist()
    few = Folds(source, 10)
    assert few.count == 6
    assert "there are 6 folds instead of 10" in few.notes[0]


# The race


class Fake(Candidate):
    """Answers a share of rows right, at a price for each row that it learns from."""

    seconds_passed = 0.0  # on the clock of `made_up_time`

    def __init__(self, name: str, right: float, price: float = 0.0, kind: str = "transfer", halt: int = 99) -> None:
        self.encoder, self.spec, self.strategy, self.kind = name, name, "fake", kind
        self.right, self.price, self.halt, self.asked = right, price, halt, 0
        self.learned: list[int] = []

    def identity(self) -> str:
        return self.encoder

    def measure(self, few: Any, how: Setting) -> Cost:
        return Cost(0.0, (), self.price, 1)

    def seconds(self, cost: Cost, train: int, test: int, how: Setting) -> float:
        return cost.forward * train

    def answers(self, source: Any, train: Tensor, test: Tensor, how: Setting) -> Tensor:
        self.asked += 1
        if self.asked > self.halt:
            raise KeyboardInterrupt
        self.learned.append(len(train))
        Fake.seconds_passed += self.price * len(train)
        labels = source.labels[test]
        wrong = torch.arange(len(test)) % 100 >= 100 * self.right
        return torch.where(wrong, (labels + 1) % len(source.class_names), labels)

    def recipe(self) -> str:
        return self.encoder


def raced(candidates: Sequence[Candidate], rows: int = 300, minutes: float = 1e6, out: Any = None) -> Race:
    source = TensorSource(torch.zeros(rows, 2), torch.arange(rows) % 3)
    race = Race(candidates, Store(Folds(source), Setting(), out), Clock(minutes), {}, progress=False)
    race.run()
    return race


@pytest.fixture
def made_up_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.perf_counter", lambda: Fake.seconds_passed)


@pytest.mark.usefixtures("made_up_time")
def test_the_better_half_goes_on_and_the_best_leads() -> None:
    made = [Fake(f"at {right}", right, 1.0) for right in (0.1, 0.55, 0.53, 0.54)]
    race = raced(made, minutes=1190 / 60)  # a fold of 240 rows would take too large a share of these seconds
    by_name = {entry.candidate.encoder: entry for entry in race.entries}
    assert race.sizes[0] < race.store.folds.largest
    assert race.sizes == sorted(race.sizes)
    assert "clearly worse" in by_name["at 0.1"].status
    assert by_name["at 0.1"].size == race.sizes[0]
    assert race.sizes[-1] == race.store.folds.largest
    assert by_name["at 0.53"].status == f"not among the better half at {race.sizes[0]} rows a class"
    choice = race.standings.choice()
    assert choice is not None
    assert choice.candidate.encoder == "at 0.55"


def test_all_folds_are_run_where_there_is_time() -> None:
    race = raced([Fake("one", 0.7), Fake("two", 0.6)], rows=60)
    assert race.sizes == [race.store.folds.largest]
    assert all(len(entry.parts[race.sizes[0]]) == 5 for entry in race.entries)
    assert len(race.joined(race.entries[0], race.sizes[0]).scores) == 60


def test_nothing_is_started_that_cannot_end_within_the_budget() -> None:
    dear = Fake("dear", 1.0, price=1e9)
    race = raced([Fake("cheap", 0.5), dear], minutes=10)
    assert dear.asked == 0
    status = next(entry.status for entry in race.entries if entry.candidate is dear)
    assert status.startswith("no time left: a fold of")


@pytest.mark.usefixtures("made_up_time")
def test_the_budget_is_kept() -> None:
    began = Fake.seconds_passed
    made = [Fake("one", 0.7, 1.0), Fake("two", 0.71, 3.0)]
    race = raced(made, minutes=1000 / 60)
    assert 300 < Fake.seconds_passed - began <= 1000
    assert all(entry.parts for entry in race.entries)
    assert len(race.sizes) == 1


def test_an_interrupted_race_reports_what_is_known_and_resumes(tmp_path: Path) -> None:
    out = tmp_path / "folds.jsonl"
    first = raced([Fake("one", 0.7, halt=3), Fake("two", 0.6)], rows=60, out=out)
    assert first.interrupted
    assert sum(len(parts) for entry in first.entries for parts in entry.parts.values()) >= 6
    again = [Fake("one", 0.7), Fake("two", 0.6)]
    second = raced(again, rows=60, out=out)
    assert not second.interrupted
    assert sum(one.asked for one in again) == 10 - sum(len(p) for e in first.entries for p in e.parts.values())
    third = [Fake("one", 0.7), Fake("two", 0.6)]
    last = raced(third, rows=60, out=out)
    assert sum(one.asked for one in third) == 0
    size = last.sizes[-1]
    assert all(np.array_equal(last.joined(a, size).scores, second.joined(b, size).scores)
               for a, b in zip(last.entries, second.entries, strict=True))  # fmt: skip


def test_predicted_cost_counts_updates() -> None:
    how = Setting(epochs=4)
    candidate = Tunes(conv4(), "linear-probe | full(epochs=2)")
    cost = Cost(1.0, (0.5, 2.0), 0.01, 9)
    # 100 rows: 4 updates of 32 an epoch
    assert candidate.seconds(cost, 100, 20, how) == pytest.approx(1 + 1.2 + 4 * 4 * 0.5 + 2 * 4 * 2.0)


# Advice


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


def test_without_minutes_only_scores(advice: Any) -> None:
    found = advise(pictures(), halves(True), minutes=0, cache=False, device="cpu", progress=False)
    assert found.choice is None
    assert found.verdict == "undecided"
    assert [one.encoder for one in found.scores] == ["left", "pixels(size=32)"]
    assert "nothing was trained" in str(found)


# Negative transfer


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


# What is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoders": []}, "encoders is empty"),
        ({"encoders": [halves(True), halves(True)]}, "two encoders are called 'left'"),
        ({"strategies": ["fulll"]}, "'logistic' is logistic regression on frozen features"),
        ({"baseline": halves(False)}, "baseline='right' is a network; give one without"),
        ({"minutes": -1}, "minutes=-1; it must be 0"),
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


# The command


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    labels = np.arange(40) % 2
    rows = (RANDOM.random((40, 8, 8, 3)) * 100 + 100 * labels[:, None, None, None]).astype(np.uint8)
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

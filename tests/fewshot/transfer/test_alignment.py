"""Alignment of two domains while a network is tuned: the terms against NumPy, and what must hold of training."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from episodes import ImageSource, TensorSource, TextSource
from fewshot import embed, fine_tune
from fewshot.adaptation import AdaptationWarning
from fewshot.encoders import ModuleEncoder, Preprocess, load_encoder
from fewshot.nets import make_net
from fewshot.transfer import choose_alignment, mmd
from fewshot.transfer.alignment import Alignment, list_alignments, load_alignment
from fewshot.transfer.alignment.adversarial import reversal_strength, reverse_gradient
from fewshot.transfer.alignment.objective import AlignedObjective

CLASSES = 3


class Secret(TensorSource):
    """Rows whose labels must not be read."""

    @property
    def labels(self) -> Tensor:  # type: ignore[override]
        raise AssertionError("target labels were read")

    @labels.setter
    def labels(self, value: Tensor) -> None:
        pass


def rows(count: int = 24, shift: float = 0.0, seed: int = 0, d: int = 5) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    means = 2 * torch.randn(CLASSES, d, generator=torch.Generator().manual_seed(9))
    return means[labels] + torch.randn(count, d, generator=g) + shift * (torch.arange(d) < 2), labels


def perceptron(norm: str = "none") -> ModuleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModuleEncoder(make_net(f"mlp(widths=(8, 4), norm={norm!r}, activation='tanh')", (5,)))


def tune(alignment: Any, target: Any = None, encoder: Any = None, strategy: str = "full", **options: Any) -> Any:
    options = {"epochs": 2, "batch_size": 8, "cache": False, "progress": False, **options}
    target = Secret(*rows(20, 2.0, 1)) if target is None else target
    return fine_tune(
        perceptron() if encoder is None else encoder, TensorSource(*rows()), strategy, target=target,
        alignment=alignment, **options,
    )  # fmt: skip


def pair() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return (torch.randn(6, 4, generator=g, dtype=torch.float64).requires_grad_(),
            (1 + torch.randn(9, 4, generator=g, dtype=torch.float64)).requires_grad_())  # fmt: skip


def begun(spec: str) -> Alignment:
    made = load_alignment(spec)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made.begin(4)
    return made.double()


# The terms


def test_gradient_reversal_is_exact() -> None:
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.equal(reverse_gradient(x, 0.3), x)
    plain = torch.autograd.grad(x.sin().sum(), x)[0]
    assert torch.equal(torch.autograd.grad(reverse_gradient(x, 0.3).sin().sum(), x)[0], -0.3 * plain)
    first = torch.autograd.grad(reverse_gradient(x, 0.3).sin().sum(), x, create_graph=True)[0]
    assert torch.allclose(torch.autograd.grad(first.sum(), x)[0], -0.3 * 0.3 * x.sin())  # of second order as well


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_schedule_of_the_reversal(p: float) -> None:
    assert reversal_strength(p) == pytest.approx(2 / (1 + math.exp(-10 * p)) - 1, abs=1e-15)
    assert reversal_strength(0.0) == 0.0


def test_dann_trains_its_head_forwards_and_the_features_backwards() -> None:
    term, (s, t) = begun("dann(weight=0.7)"), pair()
    first, second = term.head[0], term.head[2]
    found = term(s, t, 0.25)
    x, w = torch.cat([s, t]).detach().requires_grad_(), np.array([1.0] * 6 + [0.0] * 9)
    logits = second(first(x).relu()).squeeze(1)
    p_source = 1 / (1 + np.exp(logits.detach().numpy()))
    loss = -np.log(np.where(w == 1, p_source, 1 - p_source))
    assert float(found.detach()) == pytest.approx((loss[w == 1].mean() + loss[w == 0].mean()) / 2, rel=1e-12)
    share = torch.from_numpy(np.where(w == 1, 1 / 6, 1 / 9) / 2)
    plain = (F.binary_cross_entropy_with_logits(logits, torch.from_numpy(1 - w), reduction="none") * share).sum()
    head = list(term.parameters())
    wanted = torch.autograd.grad(plain, [x, *head])
    got = torch.autograd.grad(found, [s, t, *head])
    strength = 0.7 * reversal_strength(0.25)
    torch.testing.assert_close(torch.cat(got[:2]), -strength * wanted[0])
    for one, other in zip(got[2:], wanted[1:], strict=True):
        torch.testing.assert_close(one, other)


def test_confusion_draws_answers_to_one_half_and_its_head_to_the_domains() -> None:
    term, (s, t) = begun("confusion(weight=0.7)"), pair()
    own = torch.cat([s, t])
    guess = (term.head(own)).log_softmax(1)
    value = guess.detach().numpy()
    head_loss = -(value[:6, 0].mean() + value[6:, 1].mean()) / 2
    unsure = -value.mean(1)
    found = term(s, t, 0.5)
    assert float(found.detach()) == pytest.approx(
        head_loss + 0.7 * (unsure[:6].mean() + unsure[6:].mean()) / 2, rel=1e-12
    )
    of_head = -(guess[:6, 0].mean() + guess[6:, 1].mean()) / 2
    of_rows = 0.7 * -(guess[:6].mean() + guess[6:].mean()) / 2
    head = list(term.parameters())
    for one, other in zip(torch.autograd.grad(found, head, retain_graph=True),
                          torch.autograd.grad(of_head, head, retain_graph=True), strict=True):  # fmt: skip
        torch.testing.assert_close(one, other)
    for one, other in zip(torch.autograd.grad(found, [s, t]), torch.autograd.grad(of_rows, [s, t]), strict=True):
        torch.testing.assert_close(one, other)


def test_deep_coral_against_numpy() -> None:
    s, t = pair()
    cs, ct = (np.cov(x.detach().numpy(), rowvar=False) for x in (s, t))
    wanted = 2.5 * np.linalg.norm(cs - ct) ** 2 / (4 * 4**2)
    assert float(load_alignment("deep-coral(2.5)")(s, t, 0.0).detach()) == pytest.approx(wanted, rel=1e-12)
    assert float(load_alignment("deep-coral")(s, s + 3, 0.0).detach()) == pytest.approx(0, abs=1e-12)


def test_mmd_against_numpy() -> None:
    s, t = pair()
    x, y = s.detach().numpy(), t.detach().numpy()
    both = np.concatenate([x, y])
    squares = sorted(((a - b) ** 2).sum() for i, a in enumerate(both) for j, b in enumerate(both) if i != j)
    middle = squares[(len(squares) - 1) // 2]

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([np.exp(-((a - b) ** 2).sum() / (2.0**i * middle)) for i in (-1, 0, 1)]))

    wanted = (np.mean([k(a, b) for a in x for b in x]) + np.mean([k(a, b) for a in y for b in y])
              - 2 * np.mean([k(a, b) for a in x for b in y]))  # fmt: skip
    found = load_alignment("mmd(weight=2, kernels=3)")(s, t, 0.0)
    assert float(found.detach()) == pytest.approx(2 * wanted, rel=1e-10)
    assert all(part.isfinite().all() for part in torch.autograd.grad(found, [s, t]))


# Training


@pytest.mark.parametrize("spec", ["mmd", "deep-coral(3)"])
def test_a_step_by_hand(spec: str) -> None:
    encoder = perceptron()
    target = rows(20, 2.0, 1)[0]
    tuned = tune(spec, encoder=encoder, epochs=1, batch_size=24, optimizer="sgd", lr=0.1, head_lr=0.1, weight_decay=0.0,
                 warm_up=0.0, schedule="constant", head="ridge")  # fmt: skip
    net = make_net("mlp(widths=(8, 4), activation='tanh')", (5,))
    net.load_state_dict(encoder.module.state_dict())
    start = fine_tune(encoder, TensorSource(*rows()), "linear-probe", epochs=1, head_lr=1e-12, head="ridge",
                      warm_up=0.0, cache=False, progress=False).head  # fmt: skip
    x, y = rows()
    how: Any = SimpleNamespace(batch_size=24, seed=0, views=0)
    made = AlignedObjective(how, None, y, torch.device("cpu"), load_alignment(spec), None, 20, 4, 1)
    chosen = made.target_part(0)
    assert sorted(chosen[:20].tolist()) == list(range(20)) and len(chosen) == 24  # a whole pass, and some of the next
    head = nn.Linear(4, CLASSES)
    head.load_state_dict(start.state_dict())
    s = net(x)
    loss = F.cross_entropy(head(s), y) + load_alignment(spec)(s, net(target[chosen]), 0.0)
    loss.backward()
    for name, value in net.named_parameters():
        torch.testing.assert_close(
            tuned.module.state_dict()[name], value.detach() - 0.1 * value.grad, rtol=1e-4, atol=1e-5
        )
    assert tuned.history[0][0]["loss"] == pytest.approx(float(loss.detach()), rel=1e-4)


@pytest.mark.parametrize("spec", ["dann", "confusion", "deep-coral", "mmd"])
def test_target_labels_can_be_reached_by_no_alignment(spec: str) -> None:
    x, y = rows(20, 2.0, 1)
    hidden, shown = tune(spec), tune(spec, TensorSource(x, y[torch.randperm(20)]))
    plain = tune(spec, x)  # a tensor has no labels at all
    for name, value in hidden.module.state_dict().items():
        assert torch.equal(value, shown.module.state_dict()[name]) and torch.equal(
            value, plain.module.state_dict()[name]
        )
    without = fine_tune(
        perceptron(), TensorSource(*rows()), "full", epochs=2, batch_size=8, cache=False, progress=False
    )
    assert not torch.equal(without.head.weight, hidden.head.weight), "the target rows made no difference"
    assert (without.setting, hidden.setting) == ("inductive", "domain-adaptation")
    assert {"objective" in name for name in hidden.module.state_dict()} == {False}


def test_the_alignments_of_the_registry_are_those_tested() -> None:
    assert list_alignments() == ["confusion", "dann", "deep-coral", "mmd"]
    for name in list_alignments():
        assert repr(load_alignment(name)) == name
    assert repr(load_alignment("dann(0.5, hidden=7)")) == "dann(weight=0.5, hidden=7)"


@pytest.mark.parametrize("spec", ["dann", "confusion", "mmd"])
def test_features_of_the_domains_are_more_alike(spec: str) -> None:
    x, source = rows(60, 3.0, 1)[0], TensorSource(*rows(60))
    apart = {}
    for alignment in (None, spec):
        tuned = fine_tune(
            perceptron(), source, "full", epochs=50, batch_size=20, cache=False, progress=False, alignment=alignment, lr=1e-2,
            target=None if alignment is None else x,
        )  # fmt: skip
        apart[alignment] = mmd(*(embed(data, tuned, cache=False, progress=False).features for data in (source, x)))
        right = (tuned.logits(source, cache=False).argmax(1) == source.labels).float().mean()
        assert float(right) > 0.8, "the classes of the source are still told apart"
    assert apart[spec] < 0.8 * apart[None]


@pytest.mark.parametrize(("choice", "moves"), [("train", True), ("frozen", False)])
def test_running_statistics_are_of_the_target(choice: str, moves: bool) -> None:
    encoder = perceptron("batch")
    norm: Any = encoder.module.layers[2]
    norm.momentum = 1.0  # so that the last batch is all that counts
    x = rows(20, 2.0, 1)[0]
    tuned = tune("mmd", x, encoder, epochs=1, batch_size=100, lr=1e-12, batch_norm=choice)
    found: Any = tuned.module.layers[2]
    with torch.no_grad():
        seen = encoder.module.layers[1](x)  # [U, 8]; 24 rows of an update are 20 and four of the next pass
    if moves:
        assert not torch.equal(found.mean, norm.mean) and float((found.mean - seen.mean(0)).abs().max()) < 0.5
        source = encoder.module.layers[1](rows()[0]).detach().mean(0)
        assert float((found.mean - seen.mean(0)).abs().mean()) < 0.2 * float((found.mean - source).abs().mean())
    else:
        assert torch.equal(found.mean, norm.mean) and torch.equal(found.variance, norm.variance)
    assert found.momentum == 1.0


def test_target_rows_go_through_a_frozen_prefix_once(tmp_path: Path) -> None:
    def pictures(seed: int) -> TensorSource:
        return TensorSource(
            torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(seed)), torch.arange(12) % 3
        )

    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = ModuleEncoder(make_net("conv4(channels=4, blocks=2)", (1, 8, 8)))
    seen: list[int] = []
    options: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 6,
        "progress": False,
        "target": pictures(1),
        "alignment": "dann",
    }
    whole = fine_tune(encoder, pictures(0), "last(1)", prefix=False, cache=False, **options)

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        seen.append(len(inputs[0]))

    count.transient = True  # type: ignore[attr-defined]
    handle = encoder.module.layers[0].register_forward_hook(count)
    kept = fine_tune(encoder, pictures(0), "last(1)", prefix=True, cache=tmp_path, **options)
    handle.remove()
    assert kept.plan.phases[0].cut is not None
    for name, value in whole.module.state_dict().items():
        torch.testing.assert_close(kept.module.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert [one["loss"] for one in kept.history[0]] == pytest.approx(
        [one["loss"] for one in whole.history[0]], rel=1e-5
    )
    again = len(seen)
    fine_tune(encoder, pictures(0), "last(1)", prefix=True, cache=tmp_path, **options)
    assert len(seen) == again, "rows in the cache are not computed again"


def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = tune("dann", encoder=perceptron("batch"), epochs=4, batch_norm="train")

    def stop(report: dict[str, Any]) -> None:
        if report["step"] >= 6:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"epochs": 4, "batch_norm": "train", "out": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        tune("dann", encoder=perceptron("batch"), callbacks=[stop], **options)
    steps: list[int] = []
    resumed = tune("dann", encoder=perceptron("batch"), callbacks=[lambda one: steps.append(one["step"])], **options)
    assert steps == [9, 12]
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name
    for other, named in (
        ({"alignment": "dann(0.5)"}, "alignment"),
        ({"alignment": "dann", "target": rows(20, 2.5, 1)[0]}, "target"),
    ):
        with pytest.raises(ValueError, match=f"holds a training with another {named}: "):
            tune(encoder=perceptron("batch"), **other, **options)


def test_weight_averaging_takes_statistics_from_the_target() -> None:
    options: dict[str, Any] = {"epochs": 3, "batch_size": 24, "batch_norm": "train", "swa": 0.5, "lr": 1e-12}
    x = rows(24, 3.0, 1)[0]
    encoder = perceptron("batch")
    tuned = tune("mmd", x, encoder, **options)
    with torch.no_grad():
        seen = encoder.module.layers[1](x).mean(0)
    torch.testing.assert_close(tuned.module.layers[2].mean, seen, rtol=1e-4, atol=1e-5)


def test_a_phase_of_the_head_alone_is_not_aligned() -> None:
    both = tune("mmd", strategy="linear-probe | full")
    probe = fine_tune(perceptron(), TensorSource(*rows()), "linear-probe", epochs=2, batch_size=8, cache=False,
                      progress=False)  # fmt: skip
    assert both.history[0] == [
        {**one, "rows_per_second": other["rows_per_second"]}
        for one, other in zip(probe.history[0], both.history[0], strict=True)
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alignment": None}, "target= without alignment=; choose one of confusion, dann"),
        ({"alignment": "dan"}, "unknown alignment 'dan'; did you mean 'dann'"),
        ({"alignment": "dann(weight=0)"}, "must be positive"),
        ({"alignment": "mmd(kernels=4)"}, "must be odd"),
        ({"alignment": "dann(1, 2, 3)"}, r"'dann' takes \(weight, hidden\)"),
        ({"alignment": 3}, "give a spec such as"),
        ({"alignment": "mmd", "strategy": "linear-probe"}, "leaves features as they are"),
        ({"alignment": "mmd", "mixup": 0.2}, "mixed rows are of no domain"),
        ({"alignment": "mmd", "target": torch.zeros(1, 5)}, "has 1 rows"),
        ({"alignment": "mmd", "views": 2, "augment": lambda batch, draw: batch}, "views=2 with target"),
    ],
)  # fmt: skip
def test_arguments_that_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tune(**options)


def test_target_of_another_kind_and_no_target() -> None:
    with pytest.raises(ValueError, match=r"without target="):
        fine_tune(perceptron(), TensorSource(*rows()), "full", alignment="mmd", progress=False)
    with pytest.raises(ValueError, match="holds texts"):
        tune("mmd", TextSource(["a", "b"], [0, 1]))


# Choosing


@pytest.mark.parametrize("score", ["importance", "information"])
def test_an_alignment_is_chosen_without_target_labels(score: str) -> None:
    source = TensorSource(*rows(60))
    options: dict[str, Any] = {"strategy": "full", "epochs": 3, "cache": False, "score": score, "head": "ridge"}
    found = []
    for target in (Secret(*rows(60, 2.0, 1)), rows(60, 2.0, 1)[0]):
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always", AdaptationWarning)
            found.append(choose_alignment(perceptron(), source, target, ["mmd", "deep-coral(1e6)"], **options))
    assert set(found[0].scores) == {"nothing", "mmd", "deep-coral(1e6)"}
    assert found[0].scores == pytest.approx(found[1].scores, abs=1e-4)  # rows are embedded in batches of any size
    assert all(0 <= value <= 1 for value in found[0].scores.values())
    assert found[0].adapter in found[0].scores and "against nothing" in str(found[0])


def test_a_ruinous_alignment_is_said_to_be_one() -> None:
    with pytest.warns(AdaptationWarning, match="mmd.* would do harm"):
        choice = choose_alignment(perceptron(), TensorSource(*rows(60)), rows(60, 0.0, 1)[0], ["mmd(1e5)"],
                                  strategy="full", epochs=20, lr=0.05, cache=False, head="zero",
                                  score="importance")  # fmt: skip
    assert choice.adapter == "nothing" and choice.harmful == ("mmd(1e5)",)


def test_choosing_refuses() -> None:
    with pytest.raises(ValueError, match="score='reverse'; it must be one of importance, information"):
        choose_alignment(perceptron(), TensorSource(*rows()), rows()[0], score="reverse")
    few = TensorSource(torch.zeros(4, 5), [0, 0, 0, 1])
    with pytest.raises(ValueError, match=r"class 1 has 1 row\(s\)"):
        choose_alignment(perceptron(), few, rows()[0])


# Rows of other kinds


def test_pictures_in_files_as_target(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(random.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    encoder = ModuleEncoder(make_net("conv4(channels=4, blocks=2)", (3, 8, 8)), Preprocess(size=8, resize=8))
    files = sorted(tmp_path.glob("*.png"))
    source = ImageSource(files, [0, 1] * 3, ["ant", "bee"])

    class Hidden(ImageSource):
        @property
        def labels(self) -> Tensor:  # type: ignore[override]
            raise AssertionError("target labels were read")

        @labels.setter
        def labels(self, value: Tensor) -> None:
            pass

    options: dict[str, Any] = {"epochs": 1, "batch_size": 3, "progress": False, "cache": tmp_path / "cache",
                               "alignment": "deep-coral"}  # fmt: skip
    first = fine_tune(encoder, source, "last(1)", target=Hidden(files[::-1], [0, 1] * 3), **options)
    second = fine_tune(encoder, source, "last(1)", target=[str(file) for file in files[::-1]], **options)
    assert first.plan.phases[0].cut is not None
    assert torch.equal(first.head.weight, second.head.weight)
    fine_tune(encoder, source, "full", target=Hidden(files, [0] * 6), augment="flip", **options)


def test_texts_as_target() -> None:
    encoder = load_encoder("fewshot:tiny-clip")
    source = TextSource(["good film", "bad film", "good book", "bad book"], [0, 1, 0, 1])
    tuned = fine_tune(encoder, source, "last(1)", target=TextSource(["a fine meal", "a dull one", "cold"], [0, 1, 1]),
                      alignment="mmd", epochs=1, cache=False, progress=False)  # fmt: skip
    assert np.isfinite(tuned.history[0][0]["loss"])

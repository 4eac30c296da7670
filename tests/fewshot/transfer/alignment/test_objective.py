"""Training with an alignment: a step by hand, and what must hold of every run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from alignment_examples import CLASSES, perceptron, rows, tune
from torch import nn
from torch.nn import functional as F

from episodes import TensorSource
from fewshot import embed, fine_tune
from fewshot.nets import make_net
from fewshot.transfer import mmd
from fewshot.transfer.alignment import list_alignments, load_alignment
from fewshot.transfer.alignment.objective import AlignedObjective


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

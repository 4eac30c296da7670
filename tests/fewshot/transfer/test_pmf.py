"""P>M>F: against a plain loop over one episode, without tuning, the contract, a network that was meta-trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes import Episode, EpisodeSampler, TensorSource
from episodes.identity import digest_array
from episodes.pictures import as_picture
from fewshot import load_learner, meta_train
from fewshot.encoders import Encoder, ModuleEncoder, Preprocess
from fewshot.testing import check_learner, list_checks
from fewshot.transfer import pmf as module
from fewshot.transfer.pmf import PMF
from fewshot.transforms import Pipeline

RATES = (0.0, 1e-3, 1e-2)
STEPS = 4


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 12))
        net[1].running_mean.normal_(0, 0.1)
        net[1].running_var.uniform_(0.5, 1.5)
    return net


def episode(shot: int = 3, count: int = 2, way: int = 3) -> tuple[Episode, Tensor]:
    """Classes in a background of noise, so that rates differ in how many rows they get right."""
    random = torch.Generator().manual_seed(4)
    means = torch.rand(count, way, 3, 8, 8, generator=random)
    labels = torch.arange(way).repeat(count, shot)
    targets = torch.arange(way).repeat(count, 4)

    def rows(classes: Tensor) -> Tensor:
        noise = torch.rand(*classes.shape, 3, 8, 8, generator=random)
        return 0.15 * torch.stack([means[e, classes[e]] for e in range(count)]) + 0.85 * noise

    return Episode(rows(labels), labels, rows(targets), way, ids=torch.tensor([7, 12])[:count]), targets


def brighter(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows * (0.5 + torch.rand(len(rows), 1, 1, 1, generator=generator))


def pseudo_queries(rows: Tensor, number: int, step: int) -> Tensor:
    seed = int(np.random.SeedSequence((0, number, step)).generate_state(1, np.uint64)[0])
    return brighter(rows, torch.Generator().manual_seed(seed))


def plain_logits(net: nn.Module, rows: Tensor, labels: Tensor, way: int, query: Tensor) -> Tensor:
    features = net(rows)
    features = features / features.norm(dim=1, keepdim=True)
    means = torch.stack([features[labels == n].mean(0) for n in range(way)])
    found = net(query)
    return 10 * (found / found.norm(dim=1, keepdim=True)) @ (means / means.norm(dim=1, keepdim=True)).T


def plain_training(rows: Tensor, labels: Tensor, way: int, rate: float, number: int) -> nn.Module:
    net = network().eval()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for step in range(STEPS):
        optimizer.zero_grad()
        queries = pseudo_queries(rows, number, step)
        F.cross_entropy(plain_logits(net, rows, labels, way, queries), labels).backward()
        optimizer.step()
    return net


def plain_pmf(support: Tensor, labels: Tensor, way: int, query: Tensor, number: int) -> tuple[Tensor, float]:
    order = sorted(range(len(labels)), key=lambda row: digest_array(support[row]))
    support, labels = support[order], labels[order]
    first = sorted(labels.tolist().index(n) for n in range(way))
    rest = [row for row in range(len(labels)) if row not in first]
    counts = []
    for rate in RATES:
        net = network().eval() if rate == 0 else plain_training(support[first], labels[first], way, rate, number)
        held, wanted = support[rest], labels[rest]
        if not rest:
            held, wanted = pseudo_queries(support, number, STEPS), labels
        with torch.no_grad():
            found = plain_logits(net, support[first], labels[first], way, held).argmax(1)
        counts.append(int((found == wanted).sum()))
    best = RATES[counts.index(max(counts))]
    net = network().eval() if best == 0 else plain_training(support, labels, way, best, number)
    with torch.no_grad():
        return plain_logits(net, support, labels, way, query), best


def make(**changes: Any) -> PMF:
    settings: dict[str, Any] = {"lrs": RATES, "steps": STEPS, "augment": brighter} | changes
    return PMF(settings.pop("encoder", None) or ModuleEncoder(network()), **settings)


@pytest.mark.parametrize("shot", [1, 3])
def test_it_equals_a_plain_loop_over_each_episode(shot: int) -> None:
    tasks, _ = episode(shot)
    learner = make()
    found = learner(tasks)
    rates = []
    for place, number in enumerate([7, 12]):
        expected, rate = plain_pmf(tasks.support[place], tasks.labels[place], 3, tasks.query[place], number)
        torch.testing.assert_close(found[place], expected, rtol=1e-3, atol=1e-3)
        rates.append(rate)
    if shot == 3:
        assert max(rates) > 0 == min(rates), "one is to be tuned, and one not"
        untuned = make(lrs=(0.0,))(tasks)
        assert (found - untuned).abs().max() > 0.01


def test_rate_zero_gives_the_prototypes_of_frozen_features() -> None:
    tasks, _ = episode()
    net = network().eval()
    with torch.no_grad():
        features = tasks.replace(
            support=net(tasks.support.flatten(0, 1)).unflatten(0, tasks.labels.shape),
            query=net(tasks.query.flatten(0, 1)).unflatten(0, tasks.query.shape[:2]),
        )
    expected = load_learner("prototypes(distance='cosine', scale=10.0)")(features)
    state = (learner := make(lrs=())).adapt(tasks)
    assert not state["network"]
    torch.testing.assert_close(learner.predict(state, tasks.query), expected)


def test_memory_is_that_of_a_part_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, _ = episode()
    expected = make()(tasks)
    most: list[int] = []
    encoder = ModuleEncoder(network())
    learner = make(encoder=encoder)
    monkeypatch.setattr(module, "_ROWS", 4)
    forward = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, rows: most.append(len(rows)) or forward(self, rows))
    torch.testing.assert_close(learner(tasks), expected, rtol=1e-3, atol=1e-3)
    assert max(most) == 4


def test_nothing_else_changes() -> None:
    net = network().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    tasks, _ = episode()
    support, state = tasks.support.clone(), torch.get_rng_state()
    learner = make(encoder=ModuleEncoder(net), augment="flip | crop(0.8) | color(0.4)")
    first = learner.adapt(tasks)
    assert first["network"]
    assert not any("running" in name or "tracked" in name for name in first["network"])  # batch norms are as they were
    assert all(len(value) == 2 for value in [*first["network"].values(), *first["head"]])
    assert torch.equal(learner.predict(first, tasks.query), learner(tasks))
    assert torch.equal(tasks.support, support)
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_contract_is_kept_where_a_network_is_tuned() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 32))
    learner = PMF(ModuleEncoder(net), lrs=(1e-3,), steps=2, augment=brighter)
    checks = [name for name in list_checks() if name != "spec_string_round_trip"]  # no line spells a network
    assert len(check_learner(learner, checks)) > 20


def test_meta_training_with_prototypes_trains_the_network_that_is_tuned() -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 6
    means = torch.rand(6, 1, 16, 16, generator=random)
    source = TensorSource(0.5 * means[labels] + 0.5 * torch.rand(60, 1, 16, 16, generator=random), labels)
    sampler = EpisodeSampler(source.labels, way=3, shot=2, query=3)
    learner = load_learner("conv4(item_shape=(1, 16, 16), channels=4) | prototypes(distance='cosine', scale=10.0)")
    assert isinstance(learner, Pipeline)
    net = learner.transforms[0].net
    before = {name: value.clone() for name, value in net.named_parameters()}
    meta_train(learner, source, sampler, steps=3, device="cpu", progress=False)
    assert all(not torch.equal(value, before[name]) for name, value in net.named_parameters())
    drawn = sampler.draw(1000, 2)
    tasks = Episode(source.features[drawn.support], drawn.labels, source.features[drawn.query], 3)
    with torch.no_grad():
        expected = learner.eval()(tasks)
    torch.testing.assert_close(PMF(ModuleEncoder(net), lrs=())(tasks), expected)


def test_images_go_through_the_transform_of_the_encoder() -> None:
    tasks, _ = episode()
    prepare = Preprocess(size=8, resize=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    ready = [
        torch.stack([prepare(as_picture(row)) for row in part.flatten(0, 1)]).unflatten(0, part.shape[:2])
        for part in (tasks.support, tasks.query)
    ]
    expected = make(lrs=())(tasks.replace(support=ready[0], query=ready[1]))
    encoder = ModuleEncoder(network(), prepare)
    torch.testing.assert_close(make(encoder=encoder, lrs=())(tasks), expected)
    tuned = make(encoder=encoder, augment="flip | color(0.4)", lrs=(1e-4, 1e-3, 3e-3, 1e-2))
    state = tuned.adapt(tasks)
    assert state["network"]
    assert tuned.predict(state, tasks.query).isfinite().all()


class Words(Encoder):
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.ones(len(texts), 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lrs": (-1e-3,)}, "lrs="),
        ({"lrs": 1e-3}, "lrs="),
        ({"lrs": (float("nan"),)}, "lrs="),
        ({"steps": 0}, "steps=0"),
        ({"scale": 0.0}, "scale=0.0"),
        ({"seed": -1}, "seed=-1"),
        ({"augment": "flop"}, "flip"),
        ({"encoder": Words()}, "does not encode images"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_an_encoder_without_a_network_is_not_tuned_and_divergence_is_an_error() -> None:
    tasks, _ = episode()
    flat = tasks.replace(support=tasks.support.flatten(2), query=tasks.query.flatten(2))
    expected = load_learner("prototypes(distance='cosine', scale=10.0)")(flat)
    torch.testing.assert_close(load_learner("pmf")(tasks), expected)

    class Broken(Encoder):
        def encode_images(self, batch: Tensor) -> Tensor:
            return batch.flatten(1) * torch.nan

    with pytest.raises(FloatingPointError, match="smaller lrs"):
        make(encoder=Broken())(tasks)


@pytest.mark.parametrize("encoder", ["fewshot:conv4-omniglot", "net:conv4(channels=8)", "fewshot:tiny-clip", "pixels"])
def test_the_augmentation_of_its_default_takes_what_comes_along(encoder: str) -> None:
    """Encoders of drawings and of colours: each says how it normalises."""
    learner = PMF(encoder, lrs=(0.0, 1e-3), steps=1)
    shape = (3, 32, 32) if encoder == "fewshot:tiny-clip" else (1, 28, 28)
    rows = torch.rand(1, 4, *shape, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 0, 1, 1]])
    logits = learner(Episode(rows, labels, rows, 2))
    assert logits.shape == (1, 4, 2) and bool(logits.isfinite().all())

"""The MAML family: against learn2learn, against finite differences, and against itself on other roads."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes import Episode, EpisodeSampler, TensorSource, evaluate
from fewshot import load_learner, meta_train
from fewshot.learners import ANIL, MAML, MetaSGD, ProtoMAML, Reptile
from fewshot.learners.learn2learn import adapter, source_of, state_from_learn2learn, state_to_learn2learn
from fewshot.nets.norm import TaskNorm

CONV = "conv4(norm='task', channels=8)"


def l2l() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependency gym complains about NumPy 2
        return pytest.importorskip("learn2learn")


def drawings(
    dtype: torch.dtype = torch.float64, way: int = 3, episodes: int = 2, shot: int = 2
) -> tuple[Episode, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(episodes, way * shot + 6, 1, 16, 16, generator=generator, dtype=dtype)
    labels = torch.arange(way).repeat(shot).expand(episodes, -1)
    targets = (torch.arange(6) % way).expand(episodes, -1)
    cut = way * shot
    return Episode(rows[:, :cut], labels, rows[:, cut:], way, ids=torch.arange(episodes)), targets


def meta_gradients(learner: Any, episode: Episode, targets: Tensor) -> list[Tensor]:
    logits = learner(episode)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    return list(torch.autograd.grad(loss, [p for p in learner.parameters() if p.requires_grad]))


class TransductiveNet(nn.Module):
    """A plain net with group norm, for parity: no statistics are shared between support and queries."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.Tanh(), nn.AvgPool2d(4), nn.Flatten()
        )
        self.dim = 128

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
@pytest.mark.parametrize(("first_order", "steps"), [(False, 1), (False, 3), (True, 3)])
def test_maml_equals_learn2learn(strategy: str, first_order: bool, steps: int) -> None:
    library = l2l()
    torch.manual_seed(0)
    ours = MAML(TransductiveNet(), way=3, item_shape=(1, 16, 16), steps=steps, lr=0.3, first_order=first_order,
                strategy=strategy).double()  # fmt: skip
    theirs = library.algorithms.MAML(copy.deepcopy(ours.network), lr=0.3, first_order=first_order)
    episode, targets = drawings()
    logits = ours(episode)
    losses = []
    for e in range(2):
        clone = theirs.clone()
        for _ in range(steps):
            clone.adapt(F.cross_entropy(clone(episode.support[e]), episode.labels[e]))
        found = clone(episode.query[e])
        torch.testing.assert_close(logits[e], found, atol=1e-9, rtol=1e-9)
        losses.append(F.cross_entropy(found, targets[e]))
    wanted = torch.autograd.grad(torch.stack(losses).mean(), list(theirs.parameters()))
    for mine, other in zip(meta_gradients(ours, episode, targets), wanted, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-6)


def test_metasgd_equals_learn2learn() -> None:
    library = l2l()
    torch.manual_seed(0)
    ours = MetaSGD(TransductiveNet(), way=3, item_shape=(1, 16, 16), steps=2, lr=0.2).double()
    theirs = library.algorithms.MetaSGD(copy.deepcopy(ours.network), lr=0.2)
    rates = [ours.rates[name.replace(".", "/")] for name, _ in ours.network.named_parameters()]
    for rate, mine in zip(theirs.lrs, rates, strict=True):
        rate.data.copy_(mine)  # 0.2 in float32, as ours was made
    episode, targets = drawings()
    logits, losses = ours(episode), []
    for e in range(2):
        clone = theirs.clone()
        for _ in range(2):
            clone.adapt(F.cross_entropy(clone(episode.support[e]), episode.labels[e]))
        torch.testing.assert_close(logits[e], clone(episode.query[e]), atol=1e-9, rtol=1e-9)
        losses.append(F.cross_entropy(clone(episode.query[e]), targets[e]))
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    mine = torch.autograd.grad(loss, [*ours.network.parameters(), *rates])
    wanted = torch.autograd.grad(torch.stack(losses).mean(), [*theirs.module.parameters(), *theirs.lrs])
    for a, b in zip(mine, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-6)


def test_their_algorithms_solve_our_tasks() -> None:
    library = l2l()
    torch.manual_seed(0)
    ours = MAML(TransductiveNet(), way=3, item_shape=(1, 16, 16), steps=2, lr=0.3)
    theirs = adapter(
        library.algorithms.MAML(copy.deepcopy(ours.network), lr=0.3), way=3, steps=2, item_shape=(1, 16, 16)
    )
    episode, targets = drawings(torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(episode), ours(episode), atol=1e-5, rtol=1e-5)
    for mine, other in zip(
        meta_gradients(ours, episode, targets), meta_gradients(theirs, episode, targets), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)
    state = state_to_learn2learn(ours.network)
    assert set(state) == set(theirs.algorithm.state_dict())  # type: ignore[attr-defined]
    back = state_from_learn2learn(theirs.algorithm.state_dict())  # type: ignore[attr-defined]
    ours.network.load_state_dict(back)

    class Lightning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = TransductiveNet()

    metric = adapter(Lightning(), item_shape=(1, 16, 16))
    assert metric(episode).shape == (2, 6, 3)
    with pytest.raises(ValueError, match="neither clone and adapt, nor features"):
        adapter(nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["MetaSGD", "GBML"])
def test_their_other_algorithms_solve_our_tasks_and_train(name: str) -> None:
    library = l2l()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = nn.Linear(6, 3)
        algorithm = (
            library.algorithms.MetaSGD(net, lr=0.5)
            if name == "MetaSGD"
            else library.algorithms.GBML(net, library.optim.MetaCurvatureTransform, lr=0.5)
        )
    random = torch.Generator().manual_seed(1)
    centres = 2 * torch.randn(8, 6, generator=random)
    rows = centres.repeat_interleave(20, 0) + torch.randn(160, 6, generator=random)
    source = TensorSource(rows, torch.arange(8).repeat_interleave(20))
    sampler = EpisodeSampler(source.labels, 3, 5, 5)
    learner = adapter(algorithm, way=3, steps=3, item_shape=(6,))
    before = [parameter.clone() for parameter in algorithm.parameters()]
    assert evaluate({name: learner}, source, sampler, episodes=20, progress=False)[name].mean > 0.6
    meta_train(learner, source, sampler, steps=2, batch=2, progress=False)
    assert any(not torch.equal(a, b) for a, b in zip(before, algorithm.parameters(), strict=True))


def test_their_lightning_prototypical_network_gives_its_features() -> None:
    l2l()
    pytest.importorskip("pytorch_lightning", reason="learn2learn's Lightning modules need pytorch-lightning")
    from learn2learn.algorithms.lightning import LightningPrototypicalNetworks

    features = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    episode = Episode(torch.rand(2, 3, 1, 4, 4), torch.arange(3).expand(2, -1), torch.rand(2, 4, 1, 4, 4), 3)
    found = adapter(LightningPrototypicalNetworks(features), item_shape=(1, 4, 4))(episode)
    support, query = (torch.stack([features(part) for part in side]) for side in (episode.support, episode.query))
    rows = Episode(support, episode.labels, query, 3)
    torch.testing.assert_close(found, load_learner("prototypes")(rows))


def test_their_datasets_become_sources() -> None:
    library = l2l()
    labels = torch.arange(4).repeat_interleave(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        meta = library.data.MetaDataset(torch.utils.data.TensorDataset(torch.arange(24.0).view(12, 2), labels))
        tasks = library.data.Taskset(meta, num_tasks=2)
    for dataset in (meta, tasks):
        source = source_of(dataset)
        assert torch.equal(source.labels, labels) and torch.equal(
            source[torch.tensor([5])], torch.tensor([[10.0, 11.0]])
        )
    with pytest.raises(ValueError, match="neither a MetaDataset nor a Taskset"):
        source_of([1, 2])


@pytest.mark.parametrize("name", ["maml", "anil", "boil", "metasgd", "maml++", "proto-maml"])
def test_loop_and_vmap_agree_to_second_order_with_task_norm(name: str) -> None:
    torch.manual_seed(0)
    base = load_learner(
        f"{name}(net=\"{CONV}\", way=3, item_shape=(1, 16, 16), steps=2, lr=0.1, strategy='loop')"
    ).double()
    other = copy.deepcopy(base)
    other.strategy = "vmap"  # type: ignore[assignment]
    episode, targets = drawings()
    torch.testing.assert_close(base(episode), other(episode), atol=1e-9, rtol=1e-9)
    pairs = zip(meta_gradients(base, episode, targets), meta_gradients(other, episode, targets), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_conv_meta_gradients_match_finite_differences(strategy: str) -> None:
    torch.manual_seed(0)
    # Smooth, as a gradient step through ReLU jumps where a unit switches.
    net = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), TaskNorm(6), nn.Tanh(), nn.AvgPool2d(4), nn.Flatten())
    net.dim = 96
    learner = MAML(net, way=3, item_shape=(1, 16, 16), steps=2, lr=0.1, strategy=strategy).double()
    episode, targets = drawings()
    gradients = meta_gradients(learner, episode, targets)
    generator = torch.Generator().manual_seed(1)
    for parameter, gradient in zip(learner.parameters(), gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-6 * direction
                values.append(F.cross_entropy(learner(episode).flatten(0, 1), targets.flatten()))
                parameter -= sign * 1e-6 * direction
        difference = (values[0] - values[1]) / 2e-6
        torch.testing.assert_close((gradient * direction).sum(), difference, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("first_order", [False, True])
def test_closed_form_head_equals_the_inner_loop(first_order: bool) -> None:
    torch.manual_seed(0)
    learner = MAML("linear", way=3, item_shape=(12,), steps=4, lr=0.5, first_order=first_order).double()
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4, 12, 12, generator=generator, dtype=torch.float64)
    labels = torch.tensor([[0, 1, 2, 0, -1, 1]]).expand(4, -1)
    episode = Episode(rows[:, :6], labels, rows[:, 6:], 3)
    targets = (torch.arange(6) % 3).expand(4, -1)
    plain = copy.deepcopy(learner)
    plain._head_only = lambda: False  # type: ignore[method-assign]
    torch.testing.assert_close(learner(episode), plain(episode))
    pairs = zip(meta_gradients(learner, episode, targets), meta_gradients(plain, episode, targets), strict=True)
    for mine, other in pairs:
        torch.testing.assert_close(mine, other)


def test_anil_adapts_the_head_alone_and_trains_the_body() -> None:
    torch.manual_seed(0)
    learner = ANIL(CONV, way=3, item_shape=(1, 16, 16), steps=2).double()
    episode, targets = drawings()
    assert set(learner.adapt(episode)) == {"head.weight", "head.bias", "support", "one_hot"}
    assert all(float(gradient.abs().sum()) > 0 for gradient in meta_gradients(learner, episode, targets))


def test_fine_tuning_at_test_time_takes_more_steps() -> None:
    torch.manual_seed(0)
    learner = MAML("linear", way=3, item_shape=(8,), steps=1, lr=0.1, test_steps=30, test_lr=0.5)
    generator = torch.Generator().manual_seed(0)
    episode = Episode(
        torch.randn(2, 6, 8, generator=generator), torch.tensor([[0, 1, 2, 0, 1, 2]] * 2), torch.zeros(2, 1, 8), 3
    )
    known = episode.replace(query=episode.support)

    def right(mode: bool) -> float:  # fmt: skip
        return float((learner.train(mode)(known).argmax(-1) == episode.labels).float().mean())

    assert right(False) == 1.0 > right(True)  # fmt: skip


def test_reptiles_gradient_is_the_way_to_the_adapted_weights() -> None:
    torch.manual_seed(0)
    learner = Reptile("mlp(widths=(6,))", way=3, item_shape=(16,), steps=3, lr=0.1).double()
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 9, 16, generator=generator, dtype=torch.float64)
    episode = Episode(rows[:, :6], torch.tensor([[0, 1, 2, 0, 1, 2]] * 2), rows[:, 6:], 3)
    targets = torch.arange(3).expand(2, -1)
    loss, _ = learner.meta_loss(episode, targets)
    gradients = torch.autograd.grad(loss, list(learner.network.parameters()))
    everything = Episode(rows, torch.cat([episode.labels, targets], 1), rows[:, :0], 3)
    adapted = learner.adapt(everything)
    for (name, value), gradient in zip(learner.network.named_parameters(), gradients, strict=True):
        torch.testing.assert_close(gradient, value - adapted[name].mean(0))


def test_maml_plus_plus_fades_from_all_steps_to_the_last() -> None:
    torch.manual_seed(0)
    learner = load_learner('maml++(net="mlp(widths=(6,))", way=3, item_shape=(16,), steps=3, multi_step=0.5)').double()
    episode = Episode(
        torch.randn(2, 6, 16).double(), torch.tensor([[0, 1, 2, 0, 1, 2]] * 2), torch.randn(2, 3, 16).double(), 3
    )
    targets = torch.arange(3).expand(2, -1)
    states = learner._adapted(episode, trace=True)  # type: ignore[operator]
    each = [F.cross_entropy(learner.predict(state, episode.query).flatten(0, 1), targets.flatten()) for state in states]
    for done, wanted in ((0.0, sum(each) / 3), (0.25, 0.5 * sum(each) / 3 + 0.5 * each[2]), (0.6, each[2])):
        learner.share_done = done  # type: ignore[assignment]
        torch.testing.assert_close(learner.meta_loss(episode, targets)[0], torch.as_tensor(wanted))  # type: ignore[operator]


def test_proto_maml_without_steps_is_prototypes() -> None:
    torch.manual_seed(0)
    learner = ProtoMAML("linear", way=3, item_shape=(8,), steps=0)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 10, 8, generator=generator)
    episode = Episode(rows[:, :6], torch.tensor([[0, 1, 2, 0, 1, 2]] * 2), rows[:, 6:], 3)
    torch.testing.assert_close(learner(episode), load_learner("prototypes")(episode), atol=1e-5, rtol=1e-5)


def test_wrong_use_is_explained() -> None:
    for net in (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()),
                nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.Flatten())):  # fmt: skip
        net.dim = 4 * 14 * 14
        with pytest.raises(ValueError, match=r"wrong second-order gradients under vmap.*norm='task'"):
            MAML(net, item_shape=(1, 16, 16))
    with pytest.raises(ValueError, match="BatchNorm, which an inner loop cannot run"):
        MAML("conv4", item_shape=(1, 16, 16))
    with pytest.raises(ValueError, match="all, head, body"):
        MAML("linear", item_shape=(4,), parts="tail")
    learner = MAML("linear", way=3, item_shape=(4,))
    with pytest.raises(ValueError, match=r"made for way=3 and items of \[4\], but the episode has way=2"):
        learner(Episode(torch.zeros(1, 2, 4), torch.tensor([[0, 1]]), torch.zeros(1, 1, 4), 2))

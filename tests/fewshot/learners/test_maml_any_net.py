"""The MAML family around modules of users: frozen layers, layers that vmap cannot run, half precision, checkpoints."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes import Episode, EpisodeSampler, TensorSource, evaluate
from episodes.report import to_text
from fewshot import load_learner, meta_train
from fewshot.learners import ANIL, BOIL, MAML, MAMLPlusPlus, MetaSGD, ProtoMAML, Reptile
from fewshot.meta import load_weights, save_weights
from fewshot.nets.norm import TaskNorm

FAMILY = [MAML, ANIL, BOIL, MetaSGD, MAMLPlusPlus, ProtoMAML, Reptile]


class Recurrent(nn.Module):
    """The last output of a recurrent layer over the rows of an item."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer = getattr(nn, kind)(4, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)[0]
        return outputs[:, -1]


class Attending(nn.Module):
    """A transformer's layer over the rows of an item, and their mean."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=dropout, activation="gelu", batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)
        return outputs.mean(1)


class Branching(nn.Module):
    """Its way depends on the rows, which vmap finds out only when it gets there."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(20, 6)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layer(x.flatten(1))
        return features if bool(x.sum() > 0) else -features


def dropping() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(20, 6), nn.Dropout(0.5))


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 6))


LAYERS = {
    "dropout": dropping, "lstm": lambda: Recurrent("LSTM"), "gru": lambda: Recurrent("GRU"),
    "rnn": lambda: Recurrent("RNN"), "transformer": Attending, "transformer with dropout": lambda: Attending(0.2),
    "branches": Branching,
}  # fmt: skip


def sequences(dtype: torch.dtype = torch.float32) -> Episode:
    rows = torch.rand(3, 12, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Episode(rows[:, :6].to(dtype), torch.tensor([[0, 1, 2, 0, 1, 2]] * 3), rows[:, 6:].to(dtype), 3)


def source() -> TensorSource:
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(8, 12, 5, 4, generator=generator) + torch.rand(8, 1, 5, 4, generator=generator)
    return TensorSource(rows.flatten(0, 1), torch.arange(8).repeat_interleave(12), kind="features")


def make(kind: type[MAML], net: nn.Module, **options: Any) -> MAML:
    torch.manual_seed(0)
    return kind(net, way=3, item_shape=(5, 4), **options)


@pytest.mark.parametrize("kind", FAMILY)
def test_a_module_of_the_user_is_saved_once_and_read_again(kind: type[MAML], tmp_path: Path) -> None:
    net = perceptron()
    learner = make(kind, net)
    rows, sampler = source(), EpisodeSampler(source().labels, 3, 2, 2)
    meta_train(learner, rows, sampler, steps=2, batch=2, out=tmp_path, progress=False)
    assert learner.net is net and learner.hyperparameters()["net"] is net
    assert not [name for name in learner.state_dict() if name.startswith("net.")]
    again = load_weights(make(kind, perceptron()), tmp_path / "last.safetensors")
    for name, value in learner.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_tensors_that_a_net_uses_twice_are_written_once(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = nn.Linear(4, 4)
            self.second.weight = self.first.weight
            self.register_buffer("whole", torch.arange(6.0))
            self.register_buffer("part", self.whole[2:])

    torch.manual_seed(0)
    tied = Tied()
    save_weights(tied, tmp_path / "w.safetensors")
    again = load_weights(Tied(), tmp_path / "w.safetensors")
    assert all(torch.equal(again.state_dict()[name], value) for name, value in tied.state_dict().items())
    assert again.second.weight is again.first.weight  # type: ignore[attr-defined, union-attr]


@pytest.mark.parametrize("kind", FAMILY)
def test_frozen_layers_do_not_adapt_and_get_no_rates(kind: type[MAML]) -> None:
    net = perceptron()
    net[1].requires_grad_(False)
    learner = make(kind, net)
    state = learner.train().adapt(sequences())
    assert not {"body.1.weight", "body.1.bias"} & set(state)
    body = {name for name in state if name.startswith("body.")}
    assert body == (set() if kind is ANIL else {"body.3.weight", "body.3.bias"})
    rates = [name for name, _ in learner.named_parameters() if name.startswith("rates.")]
    assert not [name for name in rates if "body/1" in name]
    assert bool(rates) == (kind in (MetaSGD, MAMLPlusPlus))
    before = {name: value.clone() for name, value in net.named_parameters()}
    meta_train(learner, source(), EpisodeSampler(source().labels, 3, 2, 2), steps=2, batch=2, progress=False)
    moved = {name for name, value in net.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"3.weight", "3.bias"}


def test_a_body_frozen_whole_leaves_the_closed_form_of_the_head() -> None:
    frozen = perceptron().requires_grad_(False)
    learner, head = make(MAML, frozen, steps=3), make(ANIL, copy.deepcopy(frozen), steps=3)
    head.load_state_dict(learner.state_dict())
    torch.testing.assert_close(learner(sequences()), head(sequences()))
    with pytest.raises(ValueError, match=r"parts='body', but no parameter of Sequential can adapt"):
        make(BOIL, perceptron().requires_grad_(False))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("first_order", [False, True], ids=["second", "first"])
def test_layers_that_vmap_cannot_run_are_run_by_the_loop(name: str, first_order: bool) -> None:
    learner = make(MAML, LAYERS[name](), steps=2, first_order=first_order)
    loop = copy.deepcopy(learner)
    loop.strategy = "loop"
    episode, targets = sequences(), (torch.arange(6) % 3).expand(3, -1)
    for training in (True, False):
        with torch.set_grad_enabled(training):
            torch.manual_seed(1)
            found = learner.train(training)(episode)
            torch.manual_seed(1)
            wanted = loop.train(training)(episode)
        torch.testing.assert_close(found, wanted)
        if training:
            for model, logits in ((learner, found), (loop, wanted)):
                F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
                gradients = [value.grad for value in model.parameters()]
                assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
            for mine, other in zip(learner.parameters(), loop.parameters(), strict=True):
                torch.testing.assert_close(mine.grad, other.grad)


class OwnNorm(nn.Module):
    """A norm that calls torch's function itself."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.weight, self.bias = name, nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        if self.name == "layer_norm":
            return F.layer_norm(x, (6,), self.weight, self.bias)
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True)


SMOOTH = {
    "attention": Attending, "layer norm": lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 6), nn.LayerNorm(6)),
    "own layer norm": lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 6), OwnNorm("layer_norm"), nn.Linear(6, 6)),
    "own batch norm": lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 6), OwnNorm("batch_norm"), nn.Linear(6, 6)),
    "group norm": lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 6), nn.GroupNorm(1, 6), nn.Linear(6, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_second_derivatives_are_right_through(name: str) -> None:
    learner = make(MAML, SMOOTH[name](), steps=2).double()
    episode, targets = sequences(torch.float64), (torch.arange(6) % 3).expand(3, -1)

    def loss() -> Tensor:
        return F.cross_entropy(learner(episode).flatten(0, 1), targets.flatten())

    gradients = torch.autograd.grad(loss(), list(learner.parameters()))
    generator, change = torch.Generator().manual_seed(1), 0.0
    directions = [torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in gradients]
    for sign in (1, -1):
        with torch.no_grad():
            for value, direction in zip(learner.parameters(), directions, strict=True):
                value += sign * 1e-5 * direction
            change += sign * float(loss())
            for value, direction in zip(learner.parameters(), directions, strict=True):
                value -= sign * 1e-5 * direction
    along = sum(float((gradient * direction).sum()) for gradient, direction in zip(gradients, directions, strict=True))
    assert along == pytest.approx(change / 2e-5, rel=1e-4)


def test_a_strategy_that_cannot_run_is_named() -> None:
    learner = make(MAML, Recurrent("GRU"), strategy="vmap")
    with pytest.raises(ValueError, match=r"vmap cannot run this net .*use strategy='loop' or 'auto'"):
        learner(sequences())
    for name in ("layer norm", "own layer norm"):
        learner = make(MAML, SMOOTH[name](), strategy="vmap")
        with pytest.raises(ValueError, match=r"second derivatives .*wrong"):
            learner(sequences())
        with torch.no_grad():
            assert learner(sequences()).shape == (3, 6, 3)


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_a_layer_under_two_names_keeps_its_parameters(strategy: str) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.middle, self.last = nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 20)
            self.again, self.last.weight = self.first, self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.middle(self.again(self.middle(self.first(x.flatten(1))))))  # type: ignore[no-any-return]

    net = Twice()
    before = {name: (value, value.clone()) for name, value in net.named_parameters(remove_duplicate=False)}
    learner = make(MAML, net, steps=1, strategy=strategy)
    logits = learner(sequences())
    logits.logsumexp(-1).sum().backward()
    assert all(value.grad is not None for value in net.parameters())
    for name, value in net.named_parameters(remove_duplicate=False):
        assert value is before[name][0] and torch.equal(value, before[name][1]), name
    adapted, plain = learner.adapt(sequences()), copy.deepcopy(net)
    with torch.no_grad():
        plain.first.weight.copy_(adapted["body.first.weight"][0])
        plain.first.bias.copy_(adapted["body.first.bias"][0])
        plain.last.bias.copy_(adapted["body.last.bias"][0])
        rows = plain(sequences().query[0]) @ adapted["head.weight"][0].T + adapted["head.bias"][0]
    torch.testing.assert_close(rows, logits[0])


def test_a_net_is_tried_for_the_number_of_its_features() -> None:
    assert make(MAML, perceptron()).network.head.in_features == 6
    lying = perceptron()
    lying.dim = 11  # such as the width of a transformer that ends in something narrower
    assert make(MAML, lying).network.head.in_features == 6
    training = nn.Sequential(nn.Flatten(), nn.Dropout(0.5))
    training[1].eval()
    make(MAML, training)
    assert training.training and not training[1].training
    with pytest.raises(ValueError, match=r"makes \[2, 2, 3, 2\] of 2 rows of \[1, 5, 4\]; .* torch.nn.Flatten"):
        MAML(nn.Conv2d(1, 2, 3), item_shape=(1, 5, 4))
    with pytest.raises(ValueError, match=r"Linear cannot take rows \[2, 5, 4\]: .*item_shape="):
        make(MAML, nn.Linear(7, 2))
    with pytest.raises(ValueError, match="makes tuple of 2 rows"):
        make(MAML, nn.LSTM(4, 6, batch_first=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", FAMILY)
def test_nets_and_episodes_in_half_precision(kind: type[MAML], dtype: torch.dtype) -> None:
    whole = make(kind, nn.Sequential(nn.Flatten(), nn.Linear(20, 8), TaskNorm(8), nn.Tanh()), lr=0.1).eval()
    half = copy.deepcopy(whole).to(dtype)
    wanted = whole(sequences())
    for learner, rows in ((half, torch.float32), (half, dtype), (half, torch.float64), (whole, dtype)):
        found = learner(sequences(rows))
        assert found.dtype == (torch.float64 if rows == torch.float64 else found.dtype)
        torch.testing.assert_close(found.double(), wanted.double(), atol=0.1, rtol=0.1)
    loss = half.train()(sequences()).float().logsumexp(-1).sum()
    loss.backward()
    assert all(value.grad is None or bool(value.grad.isfinite().all()) for value in half.parameters())
    made = make(kind, nn.Sequential(nn.Flatten(), nn.Linear(20, 8)).to(dtype))  # the head follows the body
    assert {value.dtype for value in made.network.parameters()} == {dtype}
    assert made(sequences()).dtype == torch.float32


def test_squares_beyond_half_precision_do_not_move_a_task_norm() -> None:
    x = 400 * torch.randn(3000, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(TaskNorm(2).half()(x.half()).float(), TaskNorm(2)(x), atol=2e-2, rtol=0)


def test_long_nets_have_short_names_and_whole_identities(tmp_path: Path) -> None:
    learner = make(MAML, perceptron(), steps=1)
    assert repr(learner) == "maml(net=Sequential(...), way=3, item_shape=(5, 4), steps=1)"
    rows, sampler = source(), EpisodeSampler(source().labels, 3, 2, 2)
    plain = nn.Sequential(nn.Linear(2, 2))
    plain.forward = lambda episode: episode.query.new_zeros(len(episode), 6, 3)  # type: ignore[method-assign, assignment]
    results = evaluate([learner, plain], rows, sampler, episodes=4, out=tmp_path / "r.jsonl", progress=False)
    assert list(results) == [repr(learner), "Sequential(...)"]
    assert max(len(line) for line in to_text(results).splitlines()) < 120
    other = make(MAML, nn.Sequential(*perceptron(), nn.Tanh()), steps=1)
    keys = {evaluate(each, rows, sampler, episodes=4, progress=False).cells[0].key for each in (learner, other)}
    assert len(keys) == 2 and repr(learner) == repr(other)
    with pytest.raises(ValueError, match="cannot read the spec"):
        load_learner(repr(learner))

"""Penalties, rates, mixtures and unfreezing against steps that are computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tuning_examples import CLASSES, conv4, pictures, tune

from fewshot.encoders import ModuleEncoder
from fewshot.transfer.heads import first_head
from fewshot.transfer.stages import stages


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

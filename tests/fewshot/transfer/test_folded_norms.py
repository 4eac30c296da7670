"""Batch norms whose statistics a converter folded into the weights: no others may take their place unasked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from episodes import TensorSource
from fewshot import fine_tune
from fewshot.encoders import ModuleEncoder
from fewshot.transfer import TunedEncoder, adapt_to
from fewshot.transfer.norms import folded


def rows(count: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(count) % 3
    means = 4 * torch.randn(3, 4, generator=torch.Generator().manual_seed(9))
    return means[labels] + torch.randn(count, 4, generator=torch.Generator().manual_seed(1)), labels


def fresh() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5))


@pytest.fixture(scope="module")
def trained() -> TunedEncoder:
    return fine_tune(ModuleEncoder(fresh()), TensorSource(*rows(60)), "scratch", epochs=20, cache=False, progress=False)


@pytest.fixture
def converted(trained: TunedEncoder) -> nn.Sequential:
    """The same function with means 0, variances 1 and scales 1 in its batch norm."""
    network = fresh()
    network.load_state_dict(trained.module.state_dict())  # type: ignore[union-attr]
    linear, norm = network[0], network[1]
    assert isinstance(linear, nn.Linear) and isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        linear.bias.copy_((linear.bias - norm.running_mean) * scale)
        linear.weight.mul_(scale[:, None])
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
        norm.weight.fill_(1)
    x = rows(10)[0]
    torch.testing.assert_close(network.eval()(x), trained.module.eval()(x), rtol=1e-3, atol=1e-3)  # type: ignore[union-attr]
    return network


def test_they_are_told_from_fresh_and_from_trained_ones(trained: TunedEncoder, converted: nn.Sequential) -> None:
    assert folded(converted)
    assert not folded(fresh()) and not folded(trained.module) and not folded(nn.Sequential(nn.Linear(4, 6)))  # type: ignore[arg-type]


def test_fine_tuning_keeps_them_however_many_the_rows(converted: nn.Sequential) -> None:
    source = TensorSource(*rows(1200))
    for network, mode in ((converted, "frozen"), (fresh(), "train")):
        tuned = fine_tune(ModuleEncoder(network), source, "full", epochs=1, cache=False, progress=False)
        assert tuned.plan.phases[0].batch_norm == mode
    asked = fine_tune(
        ModuleEncoder(converted), source, "full", epochs=1, batch_norm="train", cache=False, progress=False
    )
    assert asked.plan.phases[0].batch_norm == "train"


def test_source_free_methods_renew_none(trained: TunedEncoder, converted: nn.Sequential) -> None:
    source = TensorSource(*rows(60))
    bare = fine_tune(ModuleEncoder(converted), source, "linear-probe", epochs=5, cache=False, progress=False)
    for method in ("adabn", "tent"):
        with pytest.raises(ValueError, match=f"{method}.* has none that were taken from data .* use 'shot'"):
            adapt_to(bare, source, method, progress=False)
    found = adapt_to(bare, source, "shot(epochs=1)", progress=False)
    assert torch.equal(found.module.state_dict()["1.running_mean"], torch.zeros(6))  # type: ignore[union-attr]
    before, after = (one.logits(source, cache=False).argmax(1) for one in (bare, found))
    assert (before == after).float().mean() > 0.9

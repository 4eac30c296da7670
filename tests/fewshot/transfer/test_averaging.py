"""Stochastic weight averaging: means kept by hand, statistics of torch's own, and runs that were interrupted."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from episodes import TensorSource
from fewshot import fine_tune
from fewshot.encoders import ModuleEncoder
from fewshot.meta.schedule import rate_at

SEED, ROWS, EPOCHS = 3, 18, 5


def pictures(rows: int = ROWS) -> TensorSource:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % 3
    means = torch.rand(3, 3, 16, 16, generator=random)
    pixels = 0.4 * means[labels] + 0.6 * torch.rand(rows, 3, 16, 16, generator=random)
    return TensorSource(pixels, labels, ["ant", "bee", "cow"])


def small() -> ModuleEncoder:
    """A network with batch norms and dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = [nn.Sequential(nn.Conv2d(width, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2))
                  for width in (3, 4)]  # fmt: skip
        return ModuleEncoder(nn.Sequential(*blocks, nn.Flatten()))


def tune(strategy: str, **options: Any) -> Any:
    options = {"epochs": EPOCHS, "batch_size": 6, "lr": 1e-2, "swa": 0.6, "seed": SEED, **options}
    return fine_tune(small(), pictures(), strategy, progress=False, cache=False, **options)


def tensors(tuned: Any) -> dict[str, Tensor]:
    return {**tuned.module.state_dict(), **{f"head.{name}": value for name, value in tuned.head.state_dict().items()}}


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(value, tensors(other)[name]) for name, value in tensors(one).items())


def watched(strategy: str, folder: Path, **options: Any) -> tuple[Any, list[dict[str, Tensor]]]:
    """A tuning, and the weights at the end of each epoch as they were written then."""
    seen: list[dict[str, Tensor]] = []

    def look(report: dict[str, Any]) -> None:
        held = load_file(sorted(folder.iterdir())[-1] / "last.safetensors")
        seen.append({name.removeprefix("body.network."): value for name, value in held.items()})

    return tune(strategy, out=folder, callbacks=[look], **options), seen


@pytest.mark.parametrize("strategy", ["linear-probe", "last(1)", "full", "bias", "gradual(every=2)"])
def test_weights_are_the_mean_of_the_last_epochs(strategy: str, tmp_path: Path) -> None:
    tuned, seen = watched(strategy, tmp_path)
    assert len(seen) == EPOCHS
    found, moved = tensors(tuned), 0
    for name in seen[-1]:
        if not name.endswith(("mean", "var", "tracked")):
            mean = torch.stack([held[name].double() for held in seen[-3:]]).mean(0)  # 0.6 of 5 epochs
            torch.testing.assert_close(found[name].double(), mean, rtol=1e-6, atol=1e-7)
            moved += not torch.allclose(found[name], seen[-1][name], rtol=1e-4)
    assert moved and "weights: mean of the last 3 epochs" in str(tuned.plan)


def test_of_lora_the_factors_are_averaged(tmp_path: Path) -> None:
    tuned, seen = watched("lora(2)", tmp_path)
    for place, shape in (("0.0", (4, 3, 3, 3)), ("1.0", (4, 4, 3, 3))):
        path = f"{place}.parametrizations.weight.0."
        a, b = (torch.stack([held[path + name] for held in seen[-3:]]).mean(0) for name in "AB")
        expected = small().module.state_dict()[f"{place}.weight"] + 2.0 * (b @ a).view(shape)  # alpha / r = 2
        torch.testing.assert_close(tensors(tuned)[f"{place}.weight"], expected)
    assert {name for name in tuned.changed} == {"0.0.weight", "1.0.weight"}


class Fixed(nn.Module):
    """A frozen batch norm, as a layer that `update_bn` leaves alone."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = [norm.eval()]  # hidden from ``modules()``

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm[0](x)
        return out


@pytest.mark.parametrize(("strategy", "trained"), [("full", {"0.1", "1.1"}), ("last(1)", {"1.1"})])
def test_statistics_are_those_of_torch(strategy: str, trained: set[str]) -> None:
    tuned, before = tune(strategy, batch_norm="train"), small().module
    theirs: Any = copy.deepcopy(tuned.module)
    for block in theirs[:2]:
        block[3] = nn.Identity()  # dropout is in evaluation mode
    if "0.1" not in trained:
        theirs[0][1] = Fixed(theirs[0][1])
    random = np.random.Generator(np.random.Philox(key=[SEED, EPOCHS]))
    order = torch.from_numpy(random.permutation(ROWS))
    update_bn([pictures().features[part] for part in order.tensor_split(3)], theirs)
    for path in ("0.1", "1.1"):
        ours, reference = tuned.module.get_submodule(path), (theirs if path in trained else before).get_submodule(path)
        torch.testing.assert_close(ours.running_mean, reference.running_mean)
        torch.testing.assert_close(ours.running_var, reference.running_var)
        assert ours.momentum == 0.1 and not ours.training


def test_the_rate_stays_while_weights_are_averaged() -> None:  # that of the head, which reports show
    for schedule, share, first in (("cosine", 0.6, 2), ("linear", 0.4, 3)):
        reports = tune("last(1)", swa=share, schedule=schedule, warm_up=0.2).history[0]
        expected = [rate_at(min(3 * epoch + 2, 3 * first), 15, 1.0, schedule, 3) for epoch in range(EPOCHS)]
        assert [report["lr"] / 1e-3 for report in reports] == pytest.approx(expected)
    every = tune("last(1)", swa=1.0, warm_up=0.2).history[0]  # averaged from the beginning: the rate rises all the same
    assert [report["lr"] for report in every] == pytest.approx([1e-3] * EPOCHS)


@pytest.mark.parametrize(
    ("strategy", "stop"), [("full", 1), ("full", 4), ("lora(2)", 3), ("linear-probe | gradual(every=2)", 5)]
)
def test_an_interrupted_run_ends_with_the_same_weights(strategy: str, stop: int, tmp_path: Path) -> None:
    whole, reports = tune(strategy, batch_norm="train"), []

    def interrupt(report: dict[str, Any]) -> None:
        reports.append(report)
        if len(reports) == stop + (EPOCHS if "|" in strategy else 0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(strategy, batch_norm="train", out=tmp_path, callbacks=[interrupt])
    assert same(tune(strategy, batch_norm="train", out=tmp_path), whole)
    assert same(tune(strategy, batch_norm="train", out=tmp_path), whole)  # nothing is left to do
    with pytest.raises(ValueError, match="holds a training with other settings"):
        tune(strategy, batch_norm="train", out=tmp_path, swa=None)


def test_without_it_a_run_has_the_identity_that_it_had() -> None:
    from fewshot.transfer.candidates import _settings

    assert "swa" not in _settings(None).identity()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"swa": 0.0}, r"swa=0.0; it must be in 0..1 without 0, or None"),
        ({"swa": 1.5}, "swa=1.5"),
        ({"swa": -1}, "swa=-1"),
        ({"validation": pictures(6)}, "swa=0.6 with validation: .* leave one of them out"),
    ],
)
def test_what_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tune("last(1)", **options)

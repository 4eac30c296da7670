"""The cached prefix trains as the whole network does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from tuning_examples import conv4, mobilenet, pictures, state, tune

from fewshot.transfer.prefix import PrefixEncoder


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

"""Pictures in the order in memory in which a network trains fastest; the numbers stay what they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from episodes import TensorSource
from fewshot.encoders import ModuleEncoder
from fewshot.learners import load_learner
from fewshot.meta import pretrain
from fewshot.runtimes.memory_order import MemoryOrder
from fewshot.transfer import fine_tune
from fewshot.transfer.backbone import BackboneFront
from fewshot.transforms import Pipeline
from fewshot.unsupervised import pretrain_unlabelled

LAST = torch.channels_last


class Convolved(nn.Module):
    """Large enough to gain; it writes down how its training batches lay in memory."""

    def __init__(self, by_view: bool = False) -> None:
        super().__init__()
        self.by_view, self.seen, self.tried = by_view, list[bool](), 0
        self.first, self.second = nn.Conv2d(3, 64, 1), nn.Conv2d(64, 8, 1, groups=8)
        self.spare = nn.Conv2d(500, 4000, 1)  # makes it large, and costs no time
        self.norm, self.drop = nn.BatchNorm2d(64), nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(x.is_contiguous(memory_format=LAST) and not x.is_contiguous())
        else:
            self.tried += 1
        rows = self.first(x).relu()
        rows = rows.view(len(rows), -1).unflatten(1, (64, -1)).mean(-1) if self.by_view else rows.mean((2, 3))
        return self.second(self.drop(self.norm(rows[..., None, None])))[..., 0, 0]


def pictures() -> Tensor:
    return torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def test_a_large_convolution_net_is_given_its_channels_last_and_the_same_numbers() -> None:
    torch.manual_seed(0)
    net, given = Convolved(), pictures()
    order = MemoryOrder(net)
    for _ in range(2):
        found = order(given, net)
        assert found.is_contiguous(memory_format=LAST) and torch.equal(found, given)
    assert given.is_contiguous() and net.tried == 1  # the caller's batch stays; the trial is made once
    assert net.training and net.norm.training and int(net.norm.num_batches_tracked) == 0


def test_what_gains_nothing_or_cannot_bear_it_is_left_alone() -> None:
    given = pictures()
    small, wide = nn.Conv2d(3, 4, 1), nn.Linear(2000, 1001)
    ungrouped = nn.Sequential(nn.Conv2d(3, 2000, 1), nn.Conv2d(2000, 1001, 1))
    for net in (small, wide, ungrouped, Convolved(by_view=True)):
        assert MemoryOrder(net)(given, net) is given
    net = Convolved()
    for other in (["a text"], given[0], given.flatten(1)):
        assert MemoryOrder(net)(other, net) is other
    assert not net.tried


@pytest.mark.parametrize("by_view", [False, True])
def test_trainings_feed_networks_in_that_order(by_view: bool) -> None:
    data = TensorSource(pictures(), torch.arange(8) % 2)
    seen = []

    class Watched(Convolved):
        def forward(self, x: Tensor) -> Tensor:
            before = len(self.seen)
            rows = super().forward(x)
            seen.extend(self.seen[before:])
            return rows

    torch.manual_seed(0)
    encoder = ModuleEncoder(Watched(by_view), name="watched", dim=8)
    fine_tune(encoder, data, "full", epochs=1, batch_size=4, progress=False)
    tuned = len(seen)
    pretrain_unlabelled(
        encoder, data, "simsiam(dim=8, bottleneck=4)", augment="flip", epochs=1, batch=4, progress=False
    )
    taught = len(seen)
    front = BackboneFront(encoder, batch_norm="train")
    learner = Pipeline([front], load_learner("prototypes"))
    pretrain(learner, data, epochs=1, batch=4, progress=False)
    assert 0 < tuned < taught < len(seen) and set(seen) == {not by_view}

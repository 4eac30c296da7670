"""``precision="auto"`` of trainings: for which networks it is bfloat16, and that a run keeps what it began with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from episodes import EpisodeSampler, TensorSource
from fewshot import meta_train
from fewshot.meta import precision as module
from fewshot.meta.precision import training_precision

CPU = torch.device("cpu")
SPEC = "conv4(item_shape=(1, 8, 8), channels=4) | prototypes"


class Patches(nn.Module):
    """A large network whose only convolution cuts pictures up."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.mix = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(1500, 1500)


NETS = {
    "convolutions": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)), "bfloat16"),
    "grouped convolutions": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4)), "float32"),
    "transformer": (Patches, "bfloat16"),
    "small head": (lambda: nn.Linear(64, 5), "float32"),
    "none": (lambda: None, "float32"),
}


@pytest.mark.parametrize("name", NETS)
def test_auto_is_bfloat16_where_it_was_measured_faster(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, expected = NETS[name]
    monkeypatch.setattr(module, "has_bfloat16", lambda: True)
    assert training_precision("auto", make(), CPU) == expected
    assert training_precision("auto", make(), torch.device("cuda")) == "float32"  # nothing was measured there
    assert training_precision("float16", make(), CPU) == "float16"
    monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    assert training_precision("auto", make(), CPU) == "float32"


def test_an_unknown_precision_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="precision='half'; it must be one of auto, float32, bfloat16, float16"):
        training_precision("half", None, CPU)


def test_a_run_goes_on_in_its_own_precision_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    source = TensorSource(rows, torch.arange(4).repeat_interleave(5), name="squares")

    def train(steps: int, precision: str) -> int:
        sampler = EpisodeSampler(source.labels, 2, 1, 1, seed=0)
        return meta_train(
            SPEC, source, sampler, steps=steps, batch=1, schedule="constant", precision=precision, out=tmp_path,
            progress=False,
        ).step  # fmt: skip

    monkeypatch.setattr(module, "has_bfloat16", lambda: True)
    assert train(1, "auto") == 1
    monkeypatch.setattr(module, "has_bfloat16", lambda: False)  # the run moves to another processor
    with pytest.raises(ValueError, match=r"precision was 'bfloat16', now it is 'float32'"):
        train(2, "auto")
    assert train(2, "bfloat16") == 2

"""Short trainings on toy rows that can be interrupted, and files of theirs that are changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from episodes import EpisodeSampler, TensorSource
from episodes.identity import digest
from fewshot import meta_train
from fewshot.meta import Training

SPEC = "mlp(item_shape=(8,), widths=(6,)) | prototypes"


def world(seed: int) -> TensorSource:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(10, 1, 8, generator=generator) + torch.randn(10, 12, 8, generator=generator)
    return TensorSource(rows.flatten(0, 1), torch.arange(10).repeat_interleave(12), name=f"world {seed}")


TRAIN, HELD, OTHER = world(0), world(1), world(2)


def sampler(source: TensorSource = TRAIN, seed: int = 0, shot: int = 1) -> EpisodeSampler:
    return EpisodeSampler(source.labels, 3, shot, 4, seed)


class Stop(Exception):
    pass


def stop_at(step: int) -> Callable[[dict[str, Any]], None]:
    def listen(report: dict[str, Any]) -> None:
        if report["step"] == step:
            raise Stop

    return listen


def run(out: Path | None = None, learner: Any = SPEC, **options: Any) -> Training:
    common: dict[str, Any] = {"steps": 8, "every": 2, "batch": 2, "progress": False, "device": "cpu"}
    return meta_train(learner, TRAIN, sampler(), out=out, **{**common, **options})


def interrupted(out: Path, step: int = 4, **options: Any) -> None:
    with pytest.raises(Stop):
        run(out, callbacks=[stop_at(step)], **options)


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.state_dict().items())


def held(source: TensorSource = HELD, seed: int = 0) -> dict[str, Any]:
    return {"validation": (source, sampler(source, seed)), "validation_episodes": 5}


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << (place % 8)
    path.write_bytes(content)


def checkpoint_of(folder: Path) -> Path:
    return folder / json.loads((folder / "state.json").read_text())["checkpoint"]["file"]


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a field and sign the file anew, so that only its content can be refused."""
    state = json.loads(path.read_text())
    state = change(state) or state
    if "digest" in state and state["digest"] == json.loads(path.read_text())["digest"]:
        state["digest"] = digest({**state, "digest": ""})
    path.write_text(json.dumps(state))

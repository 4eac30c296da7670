"""Damaged checkpoints and weights are noticed, and files of others are left alone."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from training_examples import (
    SPEC,
    checkpoint_of,
    flip,
    held,
    interrupted,
    run,
    same_weights,
)

from fewshot import load_learner
from fewshot.meta import load_weights, save_weights


def test_a_flipped_byte_anywhere_in_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    interrupted(tmp_path)
    path = checkpoint_of(tmp_path)
    whole = path.read_bytes()
    for place in random.Random(0).sample(range(len(whole)), 12):
        path.write_bytes(whole)
        flip(path, place)
        with pytest.raises(ValueError, match=r"state-4\.safetensors' is damaged or cut short.*Restore it"):
            run(tmp_path)
    path.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="damaged or cut short"):
        run(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"which state\.json names, is missing"):
        run(tmp_path)
    path.write_bytes(whole)
    assert same_weights(run(tmp_path).learner, run().learner)


def test_a_flipped_byte_in_weights_is_noticed_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    learner = load_learner(SPEC)
    save_weights(learner, path, step="7")
    whole = path.read_bytes()
    size = 8 + int.from_bytes(whole[:8], "little")
    other = load_learner(SPEC)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    for place in (*range(size, len(whole), 37), 0, 3, 7):
        path.write_bytes(whole)
        flip(path, place)
        with pytest.raises(ValueError, match=r"w\.safetensors' is damaged"):
            load_weights(other, path)
    for cut in (0, 5, 12, size, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"w\.safetensors' is damaged or cut short"):
            load_weights(other, path)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="do not fit"):
        load_weights(load_learner("mlp(item_shape=(8,), widths=(5,)) | prototypes"), path)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    assert same_weights(load_weights(other, path), learner)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["fewshot"])["step"] == "7"


def test_weights_without_a_digest_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    learner = load_learner(SPEC)
    save_file(learner.state_dict(), tmp_path / "plain.safetensors")
    assert same_weights(load_weights(load_learner(SPEC), tmp_path / "plain.safetensors"), learner)


def test_best_weights_of_another_training_are_noticed(tmp_path: Path) -> None:
    run(tmp_path, **held())
    best = tmp_path / "best.safetensors"
    assert load_weights(load_learner(SPEC), best)
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["best_step"] < state["step"]  # else it would be mended from the checkpoint
    save_weights(load_learner(SPEC), best)
    with pytest.raises(ValueError, match=r"best\.safetensors' is missing or of another training"):
        run(tmp_path, **held())


def test_files_that_follow_from_the_state_are_mended(tmp_path: Path) -> None:
    run(tmp_path)
    wanted = {name: (tmp_path / name).read_bytes() for name in ("last.safetensors", "log.jsonl")}
    for name in wanted:
        (tmp_path / name).write_bytes(b"torn")
    run(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in wanted} == wanted


@pytest.mark.parametrize("name", ["log.jsonl", "best.safetensors", "last.safetensors", "state.json"])
def test_files_of_others_are_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    for _ in range(2):
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"


def test_checkpoints_of_others_are_neither_deleted_nor_overwritten(tmp_path: Path) -> None:
    for name in ("state-2.safetensors", "state-8.safetensors", "state-99.safetensors", "last.safetensors.new"):
        (tmp_path / name).write_text(f"mine {name}")
    victim = tmp_path / "victim"
    victim.write_text("mine victim")
    for name in ("state.json.new", "log.jsonl.new", "state-4.safetensors"):
        (tmp_path / name).symlink_to(victim)
    interrupted(tmp_path)
    assert same_weights(run(tmp_path).learner, run().learner)
    for path in (*tmp_path.glob("state-*9.safetensors"), tmp_path / "state-2.safetensors", victim):
        assert path.read_text() == f"mine {path.name}"
    assert (tmp_path / "state-8.safetensors").read_text() == "mine state-8.safetensors"
    assert (tmp_path / "state-4.safetensors").is_symlink() and (tmp_path / "last.safetensors.new").exists()
    assert checkpoint_of(tmp_path).name == "state-8-1.safetensors"
    own = {"state.json", "log.jsonl", "last.safetensors", "state-8-1.safetensors"}
    assert len(list(tmp_path.iterdir())) == len(own) + 8

"""Resuming a training: what makes it the same, damaged and foreign files, random layers, more steps."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from episodes import EpisodeSampler, TensorSource, evaluate
from episodes.identity import digest
from fewshot import Learner, load_learner, meta_train
from fewshot.cli import main
from fewshot.learners import MAML
from fewshot.meta import Training, load_weights, pretrain, save_weights
from fewshot.meta.randomness import seeded
from fewshot.meta.state_file import read_state
from fewshot.nets.front import MLPFront
from fewshot.transforms import Pipeline

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


# The same training


def shift(rows: torch.Tensor, generator: torch.Generator, amount: float) -> torch.Tensor:
    return rows + amount


def held(source: TensorSource = HELD, seed: int = 0) -> dict[str, Any]:
    return {"validation": (source, sampler(source, seed)), "validation_episodes": 5}


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "validation rows": (held(), held(OTHER), "another validation: validation.source was"),
    "validation episodes drawn": (held(), held(seed=1), r"another validation: validation.sampler.seed was 0, now it is 1"),
    "no validation": (held(), {}, "another validation"),
    "validation later": ({}, held(), "another validation"),
    "validation episodes": (held(), {**held(), "validation_episodes": 6}, "another validation: validation.episodes was 5"),
    "times of validation": (held(), {**held(), "every": 4}, "another validation: validation.every was 2"),
    "augment by value": (
        {"augment": partial(shift, amount=0.1)}, {"augment": partial(shift, amount=0.2)}, "another augment",
    ),
    "augment by code": ({"augment": lambda rows, g: rows + 1}, {"augment": lambda rows, g: rows - 1}, "another augment"),
    "augmented later": ({}, {"augment": lambda rows, g: rows - 1}, "another augment: augment was None"),
    "optimizer": ({}, {"lr": 0.5}, r"another plan: plan.lr was 0.001, now it is 0.5"),
    "spec": ({}, {"learner": "mlp(item_shape=(8,), widths=(5,)) | prototypes"}, "another learner: learner.spec"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_another_training_is_refused(name: str, tmp_path: Path) -> None:
    before, after, words = CHANGES[name]
    interrupted(tmp_path, **before)
    with pytest.raises(ValueError, match=words):
        run(tmp_path, **after)
    assert run(tmp_path, **before).step == 8


def scaled(factor: float) -> type[Learner]:
    """A learner whose formula was corrected, under the same name."""

    class Means(Learner):
        name = "means"

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(8))

        def adapt(self, episode: Any) -> torch.Tensor:
            one_hot = episode.one_hot
            means: torch.Tensor = one_hot.mT @ (episode.support * self.weight) / one_hot.sum(1).unsqueeze(-1)
            return means

        def predict(self, state: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
            return -factor * torch.cdist(query * self.weight, state)

    return Means


def test_a_learner_whose_formula_was_corrected_is_another_training(tmp_path: Path) -> None:
    interrupted(tmp_path, learner=scaled(1.0)())
    with pytest.raises(ValueError, match=r"another learner: learner.digest"):
        run(tmp_path, learner=scaled(2.0)())
    assert run(tmp_path, learner=scaled(1.0)()).step == 8


def test_a_class_that_moved_to_another_module_is_the_same_learner(tmp_path: Path) -> None:
    interrupted(tmp_path)

    def change(state: dict[str, Any]) -> None:
        assert state["identity"]["learner"]["class"] == "fewshot.transforms.pipeline.Pipeline"
        state["identity"]["learner"]["class"] = "fewshot.transforms.Pipeline"  # where version 0.1 had it

    rewritten(tmp_path / "state.json", change)
    assert same_weights(run(tmp_path).learner, run().learner)


def test_frozen_layers_are_part_of_a_training(tmp_path: Path) -> None:
    def net(frozen: bool) -> MAML:
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 6))
        learner = MAML(layers, way=3, item_shape=(8,), steps=1)
        layers[0].requires_grad_(not frozen)
        return learner

    interrupted(tmp_path, learner=net(False))
    with pytest.raises(ValueError, match=r"another learner: learner.frozen"):
        run(tmp_path, learner=net(True))


def test_a_learner_comes_with_the_weights_it_began_with_or_was_led_to(tmp_path: Path) -> None:
    def fresh(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return load_learner(SPEC)

    learner = fresh(0)
    whole = run(learner=fresh(0)).learner
    interrupted(tmp_path, learner=learner)
    with pytest.raises(ValueError, match=r"began with other weights.*load_weights"):
        run(tmp_path, learner=fresh(1))
    assert same_weights(run(tmp_path, learner=learner).learner, whole)  # with the weights of the checkpoint
    read = load_weights(fresh(1), tmp_path / "last.safetensors")
    assert same_weights(run(tmp_path, learner=read).learner, whole)
    assert same_weights(run(tmp_path, learner=fresh(0)).learner, whole)


def test_an_unknowable_augmentation_is_refused_only_where_it_would_be_stored(tmp_path: Path) -> None:
    class Opaque:
        def __init__(self) -> None:
            self.lines = iter(())

        def __call__(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return rows

    assert run(augment=Opaque()).step == 8
    with pytest.raises(ValueError, match="shows no state"):
        run(tmp_path, augment=Opaque())


def test_a_trained_learner_is_the_same_learner_as_a_fresh_one(tmp_path: Path) -> None:
    spec = "maml++(net='mlp(widths=(6,))', way=3, item_shape=(8,), steps=1)"
    learner = load_learner(spec)
    interrupted(tmp_path, learner=learner)
    assert "share_done" not in vars(learner)
    assert run(tmp_path, learner=learner).step == 8


# More steps


@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd", "warm_up": 3}], ids=str)
def test_a_finished_training_goes_on_from_its_optimizer_state(options: dict[str, Any], tmp_path: Path) -> None:
    run(tmp_path, steps=4, **options)
    longer = run(tmp_path, steps=8, **options)
    assert same_weights(longer.learner, run(steps=8, **options).learner)
    assert [report["step"] for report in longer.history] == [2, 4, 6, 8]
    with pytest.raises(ValueError, match=r"has done 8 steps, but steps=4"):
        run(tmp_path, steps=4, **options)


def test_more_steps_are_refused_where_the_steps_done_would_have_been_others(tmp_path: Path) -> None:
    run(tmp_path / "a", steps=4, schedule="cosine")
    with pytest.raises(ValueError, match=r"schedule='cosine' lays the rate out over all steps.*last\.safetensors"):
        run(tmp_path / "a", steps=8, schedule="cosine")
    learner = "maml++(net='mlp(widths=(6,))', way=3, item_shape=(8,), steps=1)"
    run(tmp_path / "b", learner, steps=4)
    with pytest.raises(ValueError, match=r"maml\+\+.* changes over the course of training"):
        run(tmp_path / "b", learner, steps=8)


def test_pretraining_goes_on_for_more_epochs(tmp_path: Path) -> None:
    common: dict[str, Any] = {"schedule": "constant", "progress": False, "batch": 40}
    pretrain(SPEC, TRAIN, epochs=2, out=tmp_path, **common)
    longer = pretrain(SPEC, TRAIN, epochs=3, out=tmp_path, **common).learner
    assert same_weights(longer, pretrain(SPEC, TRAIN, epochs=3, **common).learner)


def test_patience_may_grow_but_not_shrink_below_what_was_waited(tmp_path: Path) -> None:
    options: dict[str, Any] = {**held(), "lr": 1e-9, "steps": 20, "every": 1}
    ended = run(tmp_path, patience=4, **options)
    assert ended.step == 5  # the first is the best, four are not better
    assert run(tmp_path, patience=6, **options).step == 7 == run(patience=6, **options).step
    with pytest.raises(ValueError, match=r"went on beyond step 4, where patience=3 would have ended it"):
        run(tmp_path, patience=3, **options)
    for wrong in ({"patience": 2}, {**held(), "patience": 0}):
        with pytest.raises(ValueError, match="patience="):
            run(**wrong)


# Random layers


class Dropping(nn.Module):
    """Dropout between two layers, in front of a learner."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 12), nn.Dropout(0.4), nn.Linear(12, 6))
        self.dim = 6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(x)
        return features


def dropping(kind: str) -> nn.Module:
    with seeded(torch.device("cpu"), 7):
        if kind == "maml":
            return MAML(Dropping(), way=3, item_shape=(8,), steps=2)
        front = MLPFront((8,), (6,))
        front.net = Dropping()  # type: ignore[assignment]
        return Pipeline([front], load_learner("prototypes"))


@pytest.mark.parametrize("kind", ["front", "maml", "pretrain"])
def test_dropout_depends_on_the_arguments_alone_and_resumes(kind: str, tmp_path: Path) -> None:
    def go(out: Path | None = None, **options: Any) -> nn.Module:
        if kind == "pretrain":
            return pretrain(
                dropping("front"), TRAIN, epochs=3, batch=40, every=2, out=out, progress=False, device="cpu", **options
            ).learner
        return run(out, learner=dropping(kind), **options).learner

    torch.manual_seed(0)
    state = torch.get_rng_state()
    whole = go(**held())
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are where they were
    torch.manual_seed(123)
    assert same_weights(go(**held()), whole)
    other = {"seed": 1} if kind == "pretrain" else {"first": 1}
    assert not same_weights(go(**held(), **other), whole)
    with pytest.raises(Stop):
        go(tmp_path, callbacks=[stop_at(4)], **held())
    torch.rand(3)
    assert same_weights(go(tmp_path, **held()), whole)


def test_dropout_is_off_in_the_inner_loop_of_an_evaluation() -> None:
    learner = dropping("maml").train()
    state = torch.get_rng_state()
    scores = [evaluate({"m": learner}, TRAIN, sampler(), episodes=6, progress=False)["m"].scores for _ in range(2)]
    assert scores[0].tolist() == scores[1].tolist() and torch.equal(torch.get_rng_state(), state)
    assert learner.training


def test_every_step_drops_something_else() -> None:
    drawn = []
    for key in ((0, 0), (0, 1), (1, 0), (0, 0, 1), (0, 0)):
        with seeded(torch.device("cpu"), *key):
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[4]) and len({tuple(part.tolist()) for part in drawn}) == 4
    with pytest.raises(ValueError, match="seed=-1"):
        pretrain(SPEC, TRAIN, seed=-1, progress=False)


# Damage


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << (place % 8)
    path.write_bytes(content)


def checkpoint_of(folder: Path) -> Path:
    return folder / json.loads((folder / "state.json").read_text())["checkpoint"]["file"]


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


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a field and sign the file anew, so that only its content can be refused."""
    state = json.loads(path.read_text())
    state = change(state) or state
    if "digest" in state and state["digest"] == json.loads(path.read_text())["digest"]:
        state["digest"] = digest({**state, "digest": ""})
    path.write_text(json.dumps(state))


FIELDS = [
    *((name,) for name in ("schema", "identity", "step", "steps", "best", "best_step", "stale", "start", "last_weights",
                           "best_weights", "scaler", "history", "checkpoint", "digest")),
    *(("checkpoint", name) for name in ("file", "digest", "before")), ("history", 0, "step"), ("history", 0, "loss"),
]  # fmt: skip


def test_a_state_with_wrong_fields_is_refused_by_file_and_field(tmp_path: Path) -> None:
    interrupted(tmp_path, **held())
    path = tmp_path / "state.json"
    whole = path.read_text()
    assert read_state(tmp_path) is not None and set(json.loads(whole)) == {place[0] for place in FIELDS}
    allowed = {
        "scaler": [{}],
        "steps": [7],
        "stale": [7],
        "loss": [1.5, -3, 7],
        "identity": [{}, {"a": "b"}],
        "before": [None],
    }
    for place in FIELDS:
        for value in ([], {}, "x", 1.5, -3, 7, 10**400, True, None, [[[]]], {"a": "b"}, "../../x", "dropped"):
            if value in allowed.get(place[-1], []) and type(value) is not bool:  # type: ignore[call-overload]
                continue
            if value == "dropped" and place[-1] == "loss":
                continue

            def change(data: Any, place: Any = place, value: Any = value) -> None:
                for name in place[:-1]:
                    data = data[name]
                data[place[-1]] = value
                if value == "dropped":
                    del data[place[-1]]

            rewritten(path, change)
            with pytest.raises(ValueError, match=r"state\.json'") as caught:
                read_state(tmp_path)
            assert f"'{place[-1]}'" in str(caught.value), (place, value, str(caught.value))
            path.write_text(whole)
    for text in ("", "[]", "{}", "null", "[" * 100_000, whole[: len(whole) // 2], whole.replace("0.001", "NaN"),
                 whole.replace('"best": 0', '"best": 1e999')):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ValueError, match=r"state\.json'"):
            run(tmp_path, **held())
    rewritten_identity = whole.replace('"lr": 0.001', '"lr": 0.002')
    path.write_text(rewritten_identity)
    with pytest.raises(ValueError, match="damaged: the field 'digest' does not belong to the others"):
        run(tmp_path, **held())


def test_a_flipped_byte_in_a_state_is_noticed(tmp_path: Path) -> None:
    interrupted(tmp_path)
    path = tmp_path / "state.json"
    whole = path.read_bytes()
    noticed = 0
    for place in random.Random(1).sample(range(len(whole)), 100):
        path.write_bytes(whole)
        flip(path, place)
        try:
            assert read_state(tmp_path) == json.loads(whole)  # white space may change
        except ValueError as error:
            assert "state.json'" in str(error)
            noticed += 1
    assert noticed > 50


def test_a_state_of_an_earlier_version_is_refused_in_words(tmp_path: Path) -> None:
    interrupted(tmp_path)

    def change(state: dict[str, Any]) -> Any:
        return {name: value for name, value in state.items() if name not in ("schema", "digest", "checkpoint", "steps")}

    rewritten(tmp_path / "state.json", change)
    with pytest.raises(ValueError, match=r"earlier version.*cannot be resumed safely.*last\.safetensors"):
        run(tmp_path)


# Files of others


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


def test_a_kill_between_the_files_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fewshot.meta.checkpoint as module

    whole = run(**held()).learner
    written = 0

    def limited(path: Path, content: bytes) -> None:
        nonlocal written
        written += 1
        if written > allowed:
            raise Stop
        write(path, content)

    write = module.write_atomically
    for name in ("checkpoint", "weights", "state_file"):
        monkeypatch.setattr(f"fewshot.meta.{name}.write_atomically", limited)
    for allowed in (0, 1, 2, 3, 4, 5, 7, 8):
        out, written = tmp_path / str(allowed), 0
        with pytest.raises(Stop):
            run(out, **held())
        allowed_before, allowed = allowed, 10**6
        assert same_weights(run(out, **held()).learner, whole), allowed_before
        assert len(list(out.glob("state-*"))) == 1


# The command line


def train(out: Path, *more: str) -> int:
    learner = "mlp(item_shape=(64,), widths=(4,)) | prototypes"
    return main(["train", "--data", "digits", "--learner", learner, "--quiet", "--out", str(out), *more])


def test_epochs_take_the_seed_and_refuse_what_they_would_ignore(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in ("0", "1"):
        assert train(tmp_path / seed, "--epochs", "1", "--batch", "500", "--seed", seed, "--every", "2") == 0
    first, second = ((tmp_path / seed / "last.safetensors").read_bytes() for seed in ("0", "1"))
    assert first != second
    for given in ("--steps", "--accumulate", "--way", "--shot", "--query"):
        assert train(tmp_path / "x", "--epochs", "1", given, "2") == 2
        assert f"{given} cannot go with --epochs" in capsys.readouterr().err
    assert [json.loads(line)["step"] for line in (tmp_path / "0" / "log.jsonl").read_text().splitlines()] == [2, 3]
    assert not (tmp_path / "x").exists()


def test_mishaps_of_a_training_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ("--steps", "2", "--query", "2")
    assert train(tmp_path / "a", *short, "--lr", "1e30", "--optimizer", "sgd") == 1
    assert capsys.readouterr().err.startswith("fewshot: error: the loss is nan at step 1; lower lr=")
    (tmp_path / "torn.safetensors").write_bytes(b"x" * 100)
    assert train(tmp_path / "b", *short, "--weights", str(tmp_path / "torn.safetensors")) == 2
    assert "is damaged or cut short" in capsys.readouterr().err
    assert train(tmp_path / "c", *short) == 0
    flip(checkpoint_of(tmp_path / "c"), 300)
    assert train(tmp_path / "c", *short) == 2 and "is damaged or cut short" in capsys.readouterr().err
    assert train(tmp_path / "d", *short, "--patience", "2") == 2 and "needs validation" in capsys.readouterr().err


def test_weights_to_begin_with_are_part_of_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ("--steps", "2", "--query", "2")
    for name, lr in (("a", "0.1"), ("b", "0.2")):
        assert train(tmp_path / name, *short, "--lr", lr) == 0
    begin = [("--weights", str(tmp_path / name / "last.safetensors")) for name in "ab"]
    assert train(tmp_path / "c", *short, *begin[0]) == 0
    assert train(tmp_path / "c", *short, *begin[0]) == 0
    assert train(tmp_path / "c", *short, *begin[1]) == 2
    assert "began with other weights" in capsys.readouterr().err


def test_a_folder_without_classes_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    (tmp_path / "one").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "one" / "a.png")
    assert main(["train", "--data", f"folder:{tmp_path}", "--out", str(tmp_path / "run"), "--quiet"]) == 2
    assert "has one class to learn from" in capsys.readouterr().err
    assert not (tmp_path / "run").exists() and os.listdir(tmp_path / "one") == ["a.png"]


def test_old_names_of_arguments_work_and_say_so() -> None:
    with pytest.warns(DeprecationWarning, match="is now called"):
        old = run(rate=0.01, decay=0.1, optimiser="adamw", steps=2).learner
    assert same_weights(old, run(lr=0.01, weight_decay=0.1, optimizer="adamw", steps=2).learner)
    with pytest.warns(DeprecationWarning, match="first= is now called seed="):
        old = pretrain(SPEC, TRAIN, epochs=1, first=3, progress=False).learner
    assert same_weights(old, pretrain(SPEC, TRAIN, epochs=1, seed=3, progress=False).learner)
    with pytest.raises(TypeError, match="was given lr= and rate="):
        run(lr=0.1, rate=0.1)

"""Training on several tasks: heads and network, resuming, saving, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from episodes import EpisodeSampler, TensorSource, TextSource, evaluate
from fewshot import embed, fine_tune, load_encoder, load_tasks, train_tasks
from fewshot.encoders import ModuleEncoder
from fewshot.multi_task.objective import TaskObjective
from fewshot.nets.conv4 import Conv4

NET = "net:conv4(item_shape=(1, 12, 12), channels=6)"


def pictures(classes: int, rows: int, seed: int, names: str = "c") -> TensorSource:
    means = torch.rand(classes, 1, 12, 12, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(rows) % classes
    noise = torch.rand(rows, 1, 12, 12, generator=torch.Generator().manual_seed(seed + 100))
    return TensorSource(0.6 * means[labels] + 0.4 * noise, labels, [f"{names}{place}" for place in range(classes)])


TASKS = {"small": pictures(2, 16, 1), "large": pictures(4, 40, 2, "d")}


def plain() -> ModuleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModuleEncoder(Conv4((1, 12, 12), channels=6))


def trained(strategy: str = "full", encoder: Any = NET, tasks: Any = None, **options: Any) -> Any:
    options = {"epochs": 3, "batch_size": 14, "progress": False, "cache": False, **options}
    return train_tasks(encoder, TASKS if tasks is None else tasks, strategy, **options)


def weights(result: Any) -> dict[str, Tensor]:
    network = {f"network.{name}": value for name, value in result.encoder.module.state_dict().items()}
    return network | {f"head.{name}": value for name, value in result.encoder.head.state_dict().items()}


def same(one: Any, other: Any) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("weighting", ["equal", "uncertainty", "gradnorm", "pcgrad"])
def test_tasks_of_other_sizes_and_classes_are_learned_together(weighting: str) -> None:
    result = trained("scratch", epochs=12, weighting=weighting, sampling="temperature(2)")
    assert result.tasks == ["small", "large"]
    for name, source in TASKS.items():
        logits = result.logits(name, source, cache=False, batch_size=8)
        assert logits.shape == (len(source), len(source.class_names))
        assert torch.equal(logits, result.task(name).logits(source, cache=False, batch_size=8))
        right = float((logits.argmax(1) == source.labels).double().mean())
        assert result.accuracy(name, source, cache=False) == pytest.approx(right)
        assert right > 1.4 / len(source.class_names), (name, right)
        assert result.predict(name, source, cache=False)[0] == source.class_names[int(logits[0].argmax())]
    assert (result.weights is None) == (weighting in ("equal", "pcgrad"))
    if result.weights is not None:
        assert set(result.weights) == set(TASKS) and result.weights["small"] != 1


def test_the_network_is_an_encoder_with_an_identity_of_its_own() -> None:
    given = load_encoder(NET)
    result = trained(encoder=given)
    found = result.encoder
    assert found.fingerprint != given.fingerprint
    assert load_encoder(NET).fingerprint == given.fingerprint  # what was given is as it was
    features = embed(TASKS["large"], found, cache=False, progress=False)
    assert features.features.shape == (40, found.dim)
    sampler = EpisodeSampler(features.labels, 3, 2, 4)
    assert evaluate(["prototypes"], features, sampler, episodes=4, progress=False)
    again = fine_tune(found, TASKS["small"], "linear-probe", epochs=1, progress=False, cache=False)
    assert again.fingerprint == found.fingerprint


@pytest.mark.parametrize(
    ("strategy", "moved"),
    [("linear-probe", set()), ("last(1)", {"12", "13"}), ("norm", {"1", "5", "9", "13"}), ("lp-ft", None)],
)
def test_a_strategy_says_which_part_of_the_network_trains(strategy: str, moved: set[str] | None) -> None:
    given = plain()
    before = {name: value.clone() for name, value in given.module.state_dict().items()}
    result = trained(strategy, given, lr=1e-2, epochs=2)
    after = result.encoder.module.state_dict()
    changed = {name.split(".")[1] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == ({"0", "1", "4", "5", "8", "9", "12", "13"} if moved is None else moved)
    assert all(torch.equal(value, before[name]) for name, value in given.module.state_dict().items())
    assert len(result.history) == len(result.plan.phases) == (2 if strategy == "lp-ft" else 1)


def test_cached_activations_of_frozen_stages_change_nothing() -> None:
    one, other = (trained("last(1)", plain(), prefix=prefix, weighting="gradnorm") for prefix in (True, False))
    assert one.plan.phases[0].cut == 3 and other.plan.phases[0].cut is None
    for name, value in weights(one).items():
        torch.testing.assert_close(value, weights(other)[name], rtol=1e-4, atol=1e-6)


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("weighting", "sampling"), [("uncertainty", "annealed"), ("gradnorm", "proportional"), ("pcgrad", "uniform")]
)
def test_a_run_that_was_killed_ends_with_the_same_weights(
    weighting: str, sampling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"weighting": weighting, "sampling": sampling, "lr": 1e-2, "augment": "crop(0.8)"}
    whole = trained(**options)
    step = TaskObjective.forward

    def dying(self: TaskObjective, tuning: Any, chosen: Tensor, number: int) -> Any:
        if number == 6:  # in the middle of the second of three epochs
            raise Killed
        return step(self, tuning, chosen, number)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TaskObjective, "forward", dying)
        trained(**options, out=tmp_path / "run")
    state = json.loads((tmp_path / "run" / "0-full" / "state.json").read_text())
    assert state["step"] == 4  # the end of the first epoch
    resumed = trained(**options, out=tmp_path / "run")
    assert same(whole, resumed) and resumed.weights == whole.weights
    assert [report["step"] for report in resumed.history[0]] == [4, 8, 12]
    with pytest.raises(ValueError, match="another weighting"):
        trained(**{**options, "weighting": "equal"}, out=tmp_path / "run")
    with pytest.raises(ValueError, match="other tasks"):
        trained(**options, tasks={**TASKS, "large": pictures(4, 40, 3, "d")}, out=tmp_path / "run")


def test_validation_keeps_the_epoch_of_the_best_mean_over_tasks() -> None:
    held = {"large": pictures(4, 20, 2, "d"), "small": pictures(2, 9, 1)}
    result = trained("scratch", epochs=8, validation=held, seed=2)
    reports = [report["validation"] for report in result.history[0]]
    best = max(reports)
    found = [result.accuracy(name, source, cache=False) for name, source in held.items()]
    assert sum(found) / 2 == pytest.approx(best)
    assert trained("scratch", epochs=8, validation={"small": held["small"]}, patience=1, seed=2).history[0][-1]


def test_saving_and_reading_back(tmp_path: Path) -> None:
    result = trained("last(1)", weighting="uncertainty", lr=1e-2)
    result.save(tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / "moved")
    again = load_tasks(tmp_path / "moved")
    assert same(result, again) and again.class_names == result.class_names
    assert again.encoder.setting == again.task("small").setting == "multi-task"
    assert again.weights == pytest.approx(result.weights)
    assert load_encoder(tmp_path / "moved").fingerprint == result.encoder.fingerprint
    for name, source in TASKS.items():
        assert torch.equal(
            again.logits(name, source, cache=False, batch_size=8),
            result.logits(name, source, cache=False, batch_size=8),
        )
    given = plain()
    other = trained(encoder=given)
    other.save(tmp_path / "own")
    assert same(load_tasks(tmp_path / "own", given), other)
    with pytest.raises(ValueError, match="give encoder="):
        load_tasks(tmp_path / "own")
    with pytest.raises(ValueError, match="other weights"):
        load_tasks(tmp_path / "own", NET)
    with pytest.raises(FileNotFoundError, match=r"MultiTask\.save"):
        load_tasks(tmp_path)
    notes = json.loads((tmp_path / "own" / "tasks.json").read_text())
    notes["tasks"]["small"] = ["one"]
    (tmp_path / "own" / "tasks.json").write_text(json.dumps(notes))
    with pytest.raises(ValueError, match="do not belong together"):
        load_tasks(tmp_path / "own", given)


def test_texts_are_tasks_as_well() -> None:
    words = {"colour": ["red", "blue"], "size": ["small", "large", "tiny"]}
    tasks = {
        name: TextSource([f"a {word} thing {number}" for word in kinds for number in range(3)],
                         [word for word in kinds for _ in range(3)])
        for name, kinds in words.items()
    }  # fmt: skip
    result = trained("bias", "fewshot:tiny-clip", tasks, epochs=1)
    assert result.logits("size", tasks["size"], cache=False).shape == (9, 3)
    with pytest.raises(ValueError, match="augment is of images"):
        trained("bias", "fewshot:tiny-clip", tasks, augment="flip")


ROWS = pictures(2, 16, 1)


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        ({"a": ROWS}, {}, "1 task .*'a'.*at least two.*fine_tune"),
        ({}, {}, "0 tasks"),
        ([("a", ROWS), ("a", ROWS)], {}, "two tasks are called 'a'"),
        ({"a": ROWS, "": ROWS}, {}, "names a task"),
        ({"a": ROWS, "b": pictures(1, 4, 3)}, {}, "1 class"),
        ({"a": ROWS, "b": ROWS}, {"batch_size": 1}, "2 tasks"),
        ({"a": ROWS, "b": ROWS}, {"validation": {"c": ROWS}}, "task 'c', which is not trained"),
        ({"a": ROWS, "b": ROWS}, {"strategy": "linear-probe", "weighting": "pcgrad"}, "of which 'linear-probe' trains"),
        ({"a": ROWS, "b": ROWS}, {"sampling": "prop"}, "sampling"),
        ({"a": ROWS, "b": ROWS}, {"epochs": 0}, "at least 1"),
        ({"a": ROWS, "b": ROWS}, {"strategy": "fool"}, "'full'"),
        ({"a": ROWS, "b": ROWS}, {"strategy": "setfit(2)"}, "a loss of its own"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(tasks: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trained(tasks=tasks, **options)


def test_rows_of_different_kinds_and_shapes_are_refused() -> None:
    texts = TextSource(["one", "two"], ["a", "b"])
    with pytest.raises(ValueError, match=r"'b' texts.*one kind"):
        trained("bias", "fewshot:tiny-clip", {"a": pictures(2, 4, 1), "b": texts})
    wide = TensorSource(torch.rand(6, 1, 16, 16), torch.arange(6) % 2)
    with pytest.raises(ValueError, match=r"'a' are \[1, 12, 12\], those of 'b' \[1, 16, 16\]"):
        trained("full", plain(), {"a": ROWS, "b": wide})
    with pytest.raises(ValueError, match="did you mean 'small'"):
        trained(epochs=1).logits("smal", ROWS)

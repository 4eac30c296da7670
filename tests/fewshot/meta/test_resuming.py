"""Resuming a training: more steps, and kills between the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from training_examples import (
    SPEC,
    TRAIN,
    Stop,
    held,
    run,
    same_weights,
)

from fewshot.meta import pretrain


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


def test_old_names_of_arguments_work_and_say_so() -> None:
    with pytest.warns(DeprecationWarning, match="is now called"):
        old = run(rate=0.01, decay=0.1, optimiser="adamw", steps=2).learner
    assert same_weights(old, run(lr=0.01, weight_decay=0.1, optimizer="adamw", steps=2).learner)
    with pytest.warns(DeprecationWarning, match="first= is now called seed="):
        old = pretrain(SPEC, TRAIN, epochs=1, first=3, progress=False).learner
    assert same_weights(old, pretrain(SPEC, TRAIN, epochs=1, seed=3, progress=False).learner)
    with pytest.raises(TypeError, match="was given lr= and rate="):
        run(lr=0.1, rate=0.1)

"""The state of a training, field by field."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from training_examples import (
    flip,
    held,
    interrupted,
    rewritten,
    run,
)

from fewshot.meta.state_file import read_state

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

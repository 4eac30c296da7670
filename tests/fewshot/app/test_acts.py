"""What the buttons of the page do, without a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fewshot.app import Session
from fewshot.app.acts import Acts, read_picture


def update(**changes: Any) -> dict[str, Any]:
    return changes


def test_teach_ask_correct_and_forget(pictures: dict[str, list[str]], tmp_path: Path) -> None:
    acts = Acts(Session(cache=False), tmp_path / "packed", update)
    (tmp_path / "packed").mkdir()
    (first, own), (second, others) = pictures.items()
    acts.add(first, own[:3])
    said, examples, choices, file, name, left = acts.add(second, others[:3])
    assert said.startswith(f"Examples: {first} 3, {second} 3.") and len(examples) == 6
    assert (choices, file, name, left) == (
        {"choices": [first, second], "value": None},
        {"interactive": False},
        "",
        None,
    )
    said, _, _, file = acts.learn("", "")
    assert "6 examples of 2 classes" in said and Path(file["value"]).is_file() and file["interactive"]
    probabilities, likely, alike = acts.ask(own[3])
    assert set(probabilities) == {first, second} and "In 90 of 100 cases" in likely and alike
    assert acts.ask(None) == (None, "", [])
    *shown, again, _, _ = acts.correct(own[3], second)
    assert (
        len(shown) == 4 and shown[0].startswith("Learned from it. 7 examples") and again[second] > probabilities[second]
    )
    with pytest.raises(ValueError, match="say what it really is"):
        acts.correct(own[3], None)
    said, examples, choices, file, *words = acts.forget()
    assert (said, len(examples), choices["choices"], file, words) == (
        "Everything was forgotten.", 0, [], {"interactive": False}, ["", ""],
    )  # fmt: skip


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"broken\.png: its bytes are no picture"):
        read_picture(str(tmp_path / "broken.png"))

"""Results files with dropped fields, flipped bytes and what readers choke on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from result_examples import GOOD, cell, changed

from episodes import Results, compare_all
from episodes.report import to_csv, to_text
from episodes.results_file import ResultsFile, line_of


def mutants(rng: random.Random) -> list[Any]:
    """A stored result with one thing wrong: a field dropped or swapped at any depth, or numbers no one expects."""
    swaps = [
        None, True, -1, 0, 1.5, 10**400, 1e308, "", "x\x1b[2J", "\ud800", [], [[]], {}, {"name": {}}, [None] * 6, KeyError,
    ]  # fmt: skip
    made = []
    for path in paths(changed()):
        for swap in swaps:
            data = json.loads(json.dumps(changed()))
            inner = data
            for step in path[:-1]:
                inner = inner[step]
            if swap is KeyError:
                del inner[path[-1]]
            else:
                inner[path[-1]] = swap
            if rng.random() < 0.5 and isinstance(data.get("recipe"), dict) and "evaluation" in data["recipe"]:
                data["key"] = _key(data["recipe"])  # so that what lies behind the key's check is reached
            made.append(data)
    return made


def _key(recipe: Any) -> str:
    from episodes.result import recipe_hash

    return recipe_hash(recipe)


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, (dict, list)):
        return []
    steps = list(value.items()) if isinstance(value, dict) else list(enumerate(value))[:2]
    return [path for step, item in steps for path in [(*before, step), *paths(item, (*before, step))]]


def opened(path: Path) -> None:
    """All that a command does with a file."""
    results = Results.load(path)
    for shown in (to_text(results), to_csv(results), str(compare_all(results)), repr(results)):
        shown.encode()
        assert "\x1b" not in shown


def test_fields_dropped_and_swapped_give_one_kind_of_error(tmp_path: Path) -> None:
    path, refused, made = tmp_path / "r.jsonl", 0, mutants(random.Random(0))
    for data in made:
        path.write_text(json.dumps(data) + "\n" + line_of(cell("second")))
        try:
            opened(path)
        except ValueError as error:
            assert f"{path}, line 1" in str(error), data
            refused += 1
    assert refused > len(made) / 2


def test_flipped_bytes_are_refused_or_left_out(tmp_path: Path) -> None:
    rng, path, content = random.Random(1), tmp_path / "r.jsonl", b"".join(GOOD)
    whole = {name: one.to_json() for name, one in Results([cell("aa"), cell("bbb"), cell("cccc")]).items()}
    for _ in range(300):
        place = rng.randrange(len(content))
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :])
        try:
            found = Results.load(path)
        except ValueError as error:
            assert f"{path}" in str(error)
            continue
        for name, one in found.items():
            assert one.to_json() == {**whole[name], "seconds": one.seconds}


@pytest.mark.parametrize(
    "line",
    [
        '{"schema": "fewshot-results/1", "key": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"schema": "fewshot-results/1", "episodes": ' + "9" * 5000 + "}",
        '{"schema": "fewshot-results/1", "mean": NaN}',
        json.dumps(changed(environment=json.loads("[" * 300 + "]" * 300)[0])),
        json.dumps(changed(environment={"a": json.loads("[" * 300 + "]" * 300)})),
    ],
    ids=["deep", "long number", "NaN", "not an object", "deep field"],
)
def test_what_readers_choke_on_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(line_of(cell()) + line + "\n")
    with pytest.raises(ValueError, match=r"r.jsonl, line 2"):
        Results.load(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": "fewshot-results/1"}', b'{"schema": "fewshot-results/1", "query_count": 5, '
     b'"scores": [0.2, "x"]}', b'{"schema": "fewshot-results/1", "query_count": 5, "scores": [7.0]}',
     b'{"schema": "fewshot-results/1", "query_count": 5, "scores": [0.2], "checksum": "0"}', b"[" * 10**5],
)  # fmt: skip
def test_damaged_side_files_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    file = ResultsFile(tmp_path / "r.jsonl")
    (tmp_path / ".r.jsonl.abc.partial").write_bytes(content)
    scores, count = file.progress("abc")
    assert (len(scores), count) == (0, None)
    assert "the work it stands for is done again" in caplog.text

"""Results files: a damaged line costs that line, unsound lines are named, and nothing is lost on a full disk."""

from __future__ import annotations

import errno
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from episodes import EpisodeSampler, Result, Results, TensorSource, compare_all, evaluate
from episodes.report import to_csv, to_html, to_latex, to_text
from episodes.results_file import ResultsFile, line_of

OLD = Path(__file__).parent / "files" / "results-0.1.jsonl"


def cell(learner: str = "proto", count: int = 15, episodes: int = 6, **evaluation: Any) -> Result:
    recipe = {
        "learner": {"spec": learner},
        "evaluation": {"dataset": {"name": "toy", "fingerprint": "f"}, "way": 5, "shot": 1, "query": 3, **evaluation},
    }
    scores = np.random.default_rng(len(learner)).integers(0, 16, episodes) / 15
    return Result(learner, recipe, scores, query_count=count, environment={"torch": "2"})


# Files of before


def test_files_of_version_0_1_open_everywhere() -> None:
    results = Results.load(OLD)
    assert len(results.cells) == 13
    assert {cell.metric.name for cell in results.cells} == {"accuracy", "auroc", "fpr95"}
    assert results.select(shot=5, metric="accuracy")["prototypes"].mean == pytest.approx(0.594444, abs=1e-6)
    text, page = to_text(results), to_html(results)
    assert text.count("lower is better") == 1
    assert "fpr95 in % (lower is better)" in page
    assert "40.56 ± " in text and "40.56 ± " in page
    assert len(compare_all(results)) == 8
    assert to_csv(results).count("\n") == 14
    assert r"\begin{tabular}" in to_latex(results)


def test_side_files_of_version_0_1_are_resumed(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "r.jsonl")
    side = tmp_path / ".r.jsonl.abc.partial"
    side.write_text(json.dumps({"schema": "fewshot-results/1", "query_count": 15, "scores": [0.2, 0.4]}))
    scores, count = file.progress("abc")
    assert (scores.tolist(), count) == ([0.2, 0.4], 15)


# Damage


GOOD = [line_of(cell(name)).encode() for name in ("aa", "bbb", "cccc")]


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        pytest.param(lambda a, b, c: a[:50] + b"\n" + b + c, {"bbb", "cccc"}, id="first line cut at its end"),
        pytest.param(lambda a, b, c: a[-60:] + b + c, {"bbb", "cccc"}, id="first line cut at its beginning"),
        pytest.param(lambda a, b, c: a + b + c[:-40], {"aa", "bbb"}, id="last line cut"),
        pytest.param(lambda a, b, c: a + b[:40] + b"\xff" + b[41:] + c, {"aa", "cccc"}, id="invalid byte"),
        pytest.param(lambda a, b, c: a + b + c[:60] + "é".encode()[:1], {"aa", "bbb"}, id="cut in a character"),
        pytest.param(lambda a, b, c: a + b[:30] + b"\0" * 99 + b"\n" + c, {"aa", "cccc"}, id="a block of zeros"),
        pytest.param(lambda a, b, c: a + b"\n\n" + b + c, {"aa", "bbb", "cccc"}, id="empty lines"),
    ],
)
def test_a_damaged_line_costs_that_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any, left: set
) -> None:  # type: ignore[type-arg]
    path = tmp_path / "r.jsonl"
    path.write_bytes(damage(*GOOD))
    assert set(Results.load(path)) == left
    if len(left) < 3:
        assert f"{path}, line " in caplog.text
    ResultsFile(path).append(cell("new one"))
    assert set(Results.load(path)) == {*left, "new one"}


@pytest.mark.parametrize("odd", ["\u2028", "\u0085", "\x0b", "\x1c", "\ud83d\ude00", "ü"])
def test_no_character_of_a_name_breaks_a_line(tmp_path: Path, odd: str) -> None:
    name = f"a{odd}b".encode("utf-16", "surrogatepass").decode("utf-16")
    path = tmp_path / "r.jsonl"
    Results([cell(name), cell("b")]).save(path)
    assert set(Results.load(path)) == {name, "b"}
    raw = json.dumps({k: v for k, v in cell(name).to_json().items() if k != "checksum"}, ensure_ascii=False)
    path.write_text(raw + "\n", encoding="utf-8")  # as version 0.1 wrote it
    assert set(Results.load(path)) == {name}


def test_names_that_are_not_utf8_can_be_stored(tmp_path: Path) -> None:
    folder = os.fsdecode(b"caf\xe9")
    source = TensorSource(np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 4, name=folder)
    out = tmp_path / "r.jsonl"
    for _ in range(2):
        evaluate({folder: "prototypes"}, source, EpisodeSampler(source.labels, 2, 1, 2), episodes=4, out=out)
    (found,) = Results.load(out).cells
    assert found.learner == found.dataset == r"caf\udce9"
    assert len(out.read_text().splitlines()) == 1


def test_a_line_that_is_just_being_written_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for size in (1, 5, 30, len(GOOD[0]) - 1):
        path.write_bytes(GOOD[0][:size])
        assert len(Results.load(path)) == (1 if size == len(GOOD[0]) - 1 else 0)


def test_a_file_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    for content in (b"\x89PNG\r\n\x1a\n\xff\xfe\xfa\n\xfb\xfc\n", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a results file"):
            ResultsFile(path)
        assert path.read_bytes() == content


# Unsound lines


def changed(**fields: Any) -> dict[str, Any]:
    data = {k: v for k, v in cell().to_json().items() if k != "checksum"}
    return {k: v for k, v in {**data, **fields}.items() if v is not KeyError}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"correct": [99, 1, 2, 3, 4, 5]}, "entry 0 of the field 'correct' is 99; it must be 0 to 15"),
        ({"correct": [-1, 1, 2, 3, 4, 5]}, "entry 0 of the field 'correct' is -1"),
        ({"correct": [1, 2]}, "the field 'correct' has 2 entries for 6 episodes"),
        ({"correct": [1, 2, 3, 4, 5, 1.5]}, "is a number"),
        ({"correct": [1, 2, 3, 4, 5, True]}, "is true or false"),
        ({"correct": [1, 2, 3, 4, 5, 6]}, "the field 'mean' is .*, but the scores have the mean 0.233333"),
        (
            {"query_count": 0, "scores": [0.5, 1.5, 0, 0, 0, 0]},
            "entry 1 of the field 'scores' is 1.5; it must be 0 to 1",
        ),
        ({"query_count": -5}, "the field 'query_count' is -5"),
        ({"query_count": 10**30}, "the field 'query_count'"),
        ({"episodes": 0}, "the field 'episodes' is 0"),
        ({"interval": "wide"}, "the field 'interval' is 'wide'; it must be one of"),
        ({"recipe": {"evaluation": {}}}, "the field 'learner' is missing"),
        ({"recipe": {"learner": {}, "evaluation": {"dataset": "toy"}}}, "the field 'dataset' is a string"),
        ({"learner": None}, "the field 'learner' is null"),
        ({"seconds": "fast"}, "the field 'seconds' is a string"),
        ({"seconds": -1}, "the field 'seconds' is -1"),
        ({"environment": []}, "the field 'environment' is a list"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(line_of(cell("first")) + json.dumps(changed(**fields)) + "\n")
    with pytest.raises(ValueError, match=rf"r.jsonl, line 2\b.*{message}"):
        Results.load(path)


def test_a_changed_line_costs_that_line_unless_it_is_meant(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(line_of(cell("first")) + line_of(cell()).replace('"learner": "proto"', '"learner": "other"'))
    assert set(Results.load(path)) == {"first"}
    assert "r.jsonl, line 2 is damaged or was edited" in caplog.text
    assert "remove its field 'checksum'" in caplog.text
    path.write_text(json.dumps(changed(learner="other")) + "\n")
    assert set(Results.load(path)) == {"other"}


def test_metrics_of_ones_own_are_checked_too(tmp_path: Path) -> None:
    metric = {
        "name": "mine", "identity": "0", "higher_is_better": False, "unit": "s", "digits": 1, "bounds": [0, None],
        "open_set": False,
    }  # fmt: skip
    path = tmp_path / "r.jsonl"
    path.write_text(line_of(cell(metric=metric, count=0)))
    assert Results.load(path)["proto"].metric.heading == "mine in s (lower is better)"
    for name, value in (
        ("digits", 10**9),
        ("bounds", [3]),
        ("bounds", [2, 1]),
        ("name", 5),
        ("higher_is_better", KeyError),
    ):
        bad = {k: v for k, v in {**metric, name: value}.items() if v is not KeyError}
        data = cell().to_json()
        recipe = {**data["recipe"], "evaluation": {**data["recipe"]["evaluation"], "metric": bad}}
        path.write_text(json.dumps(changed(recipe=recipe, key=Result("x", recipe, np.zeros(1)).key)) + "\n")
        with pytest.raises(ValueError, match=rf"line 1: .*{name}|'mine'.*{name}"):
            Results.load(path)


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


# A full disk


class FullDisk:
    """`os.write` that writes a few bytes at a time, with a rest after each, and then finds no space."""

    def __init__(self, space: int, step: int = 7, rest: float = 0.0) -> None:
        self.space, self.step, self.rest, self.real = space, step, rest, os.write

    def __call__(self, handle: int, data: Any) -> int:
        count = min(self.step, len(data), self.space)
        if not count:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.space -= count
        time.sleep(self.rest)
        return self.real(handle, bytes(data[:count]))


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ResultsFile(tmp_path / "r.jsonl")
    monkeypatch.setattr("os.write", FullDisk(10**9))
    file.append(cell())
    np.testing.assert_array_equal(Results.load(file.path)["proto"].scores, cell().scores)


@pytest.mark.parametrize("space", [0, 5, 300])
def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: int) -> None:
    out = tmp_path / "r.jsonl"
    source = TensorSource(np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 4)
    sampler, calls = EpisodeSampler(source.labels, 3, 1, 5), []

    def run() -> Results:
        return evaluate(["prototypes", "ridge"], source, sampler, episodes=20, out=out, progress=False)

    def gather(self: TensorSource, *given: Any) -> Any:
        calls.append(1)
        return real(self, *given)

    real = TensorSource.gather
    ResultsFile(out).append(cell("before"))
    before = out.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("os.write", FullDisk(space))
        with pytest.raises(OSError, match="No space left"):
            run()
    assert out.read_bytes() == before  # no torn line
    assert len(list(tmp_path.glob(".r.jsonl.*.partial"))) == 2
    monkeypatch.setattr(TensorSource, "gather", gather)
    found = run()
    assert not calls  # scores of the side files were enough
    assert set(Results.load(out)) == {"before", "prototypes", "ridge"}
    assert not list(tmp_path.glob(".r.jsonl.*.partial"))
    np.testing.assert_array_equal(found["ridge"].scores, Results.load(out)["ridge"].scores)


def test_the_side_file_stays_until_the_line_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ResultsFile(tmp_path / "r.jsonl")
    done = cell()
    file.save_progress(done.key, done.scores[:3], 15)

    def fails(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", fails)
        with pytest.raises(OSError, match="Input/output"):
            file.append(done)
    assert file.path.read_bytes() == b""
    assert len(file.progress(done.key)[0]) == 3
    assert file.finished(done.key) is None
    file.append(done)
    assert not list(tmp_path.glob(".*.partial"))


def test_writers_do_not_tear_one_anothers_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setattr(
        "os.write", FullDisk(10**9, step=100, rest=1e-3)
    )  # without a lock the pieces of lines would mix
    names = [f"learner {number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: ResultsFile(tmp_path / "r.jsonl").append(cell(name)), names))
    assert set(Results.load(tmp_path / "r.jsonl")) == set(names)

"""Writing where the disk is full, or several write at once."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from result_examples import cell

from episodes import EpisodeSampler, Results, TensorSource, evaluate
from episodes.results_file import ResultsFile


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

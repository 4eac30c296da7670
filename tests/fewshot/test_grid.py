"""A grid gives the same cells on every engine, and computes none twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from episodes import DisjointSampler, EpisodeSampler, Results, TensorSource, evaluate
from fewshot import evaluate_grid

LEARNERS = {"proto": "prototypes", "chain": "l2 | ridge(alpha=0.1)"}


@pytest.fixture(scope="module")
def source() -> TensorSource:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(6, 12, generator=generator).repeat_interleave(30, 0)
    rows = centres + 1.5 * torch.randn(180, 12, generator=generator)
    return TensorSource(rows, torch.arange(6).repeat_interleave(30), name="gaussians")


def samplers(source: TensorSource) -> list[EpisodeSampler]:
    return [EpisodeSampler(source.labels, 4, shot, 5, seed=2) for shot in (1, 5)]


@pytest.mark.parametrize("engine", [None, "processes(workers=2)", "threads"])
def test_every_engine_gives_the_cells_of_evaluate(source: TensorSource, tmp_path: Path, engine: Any) -> None:
    out = tmp_path / "runs.jsonl"
    with ThreadPoolExecutor(2) as pool:
        runs = pool if engine == "threads" else engine
        grid = evaluate_grid(LEARNERS, source, samplers(source), episodes=40, out=out, engine=runs, progress=False)
    assert [(cell.learner, cell.shot) for cell in grid.cells] == [
        ("proto", 1),
        ("proto", 5),
        ("chain", 1),
        ("chain", 5),
    ]
    for sampler in samplers(source):
        expected = evaluate(LEARNERS, source, sampler, episodes=40)
        for name in LEARNERS:
            found = grid.select(shot=sampler.shot)[name]
            np.testing.assert_array_equal(found.scores, expected[name].scores)
            assert found.key == expected[name].key
    assert {(cell.learner, cell.shot) for cell in Results.load(out).cells} == {(c.learner, c.shot) for c in grid.cells}
    assert [path.name for path in tmp_path.iterdir()] == ["runs.jsonl"]


def test_finished_cells_are_not_computed_again(source: TensorSource, tmp_path: Path) -> None:
    out = tmp_path / "runs.jsonl"
    calls = []

    def spy(episode):  # type: ignore[no-untyped-def]
        calls.append(len(episode))
        return torch.zeros(len(episode), episode.query.shape[1], episode.way)

    first = evaluate_grid({"spy": spy}, source, samplers(source)[:1], episodes=30, out=out, progress=False)
    assert sum(calls) == 30
    calls.clear()
    more = evaluate_grid({"spy": spy}, source, samplers(source), episodes=30, out=out, progress=False)
    assert sum(calls) == 30
    np.testing.assert_array_equal(more.select(shot=1)["spy"].scores, first["spy"].scores)


def test_finite_samplers_give_what_they_have(source: TensorSource, tmp_path: Path) -> None:
    sampler = DisjointSampler(source.labels, 4, 1, 5)
    grid = evaluate_grid(["prototypes"], source, [sampler], out=tmp_path / "r.jsonl", progress=False)
    assert grid["prototypes"].episodes == sampler.available


def test_class_text_and_two_kinds_of_rows(source: TensorSource, tmp_path: Path) -> None:
    text = torch.randn(6, 12, generator=torch.Generator().manual_seed(3))
    sampler = samplers(source)[0]
    with ThreadPoolExecutor(2) as pool:
        grid = evaluate_grid(
            ["zero-shot"], {"features": source}, [sampler], episodes=20, text=text, out=tmp_path / "r.jsonl",
            engine=pool, progress=False,
        )  # fmt: skip
    expected = evaluate("zero-shot", source, sampler, episodes=20, text=text)["zero-shot"]
    np.testing.assert_array_equal(grid["zero-shot"].scores, expected.scores)


def test_what_fails_is_reported_and_the_rest_computed(source: TensorSource, tmp_path: Path) -> None:
    heard: dict[tuple[str, int], Any] = {}

    def broken(episode):  # type: ignore[no-untyped-def]
        raise RuntimeError("no")

    def report(learner: str, sampler: Any, outcome: Any) -> None:
        heard[learner, sampler.shot] = outcome

    learners = {"broken": broken, "proto": "prototypes"}
    options: dict[str, Any] = {"episodes": 20, "out": tmp_path / "r.jsonl", "progress": False}
    grid = evaluate_grid(learners, source, samplers(source), report=report, **options)
    assert [cell.learner for cell in grid.cells] == ["proto", "proto"]
    assert {place for place, outcome in heard.items() if isinstance(outcome, RuntimeError)} == {
        ("broken", 1), ("broken", 5),
    }  # fmt: skip
    assert heard["proto", 5].mean == grid.select(shot=5)["proto"].mean
    with pytest.raises(RuntimeError, match="no"):
        evaluate_grid(learners, source, samplers(source), **options)
